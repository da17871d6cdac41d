//! TCP options: what a SYN may not offer, and what follows a shift of sequence numbers.

use aya_ebpf::EbpfContext as _;
use aya_ebpf::btf_maps::PerCpuArray;
use aya_ebpf::helpers::generated::{
    bpf_csum_diff, bpf_l4_csum_replace, bpf_skb_load_bytes, bpf_skb_store_bytes,
};
use aya_ebpf::macros::btf_map;
use aya_ebpf::programs::TcContext;
use lb_common::flow::{FLAG_NO_SACK, Flow, OFFER_NO_SACK};
use lb_common::reason::Reason;

use crate::segment::{Segment, TCP_BYTES};

/// The most bytes of options a TCP header holds.
const OPTIONS_BYTES: usize = 40;
/// Room for them, so that an index below 64 needs no further proof.
const ROOM: usize = 64;

/// Kinds of RFC 9293 section 3.2, RFC 2018 and RFC 7323.
const END: u8 = 0;
const NOP: u8 = 1;
const MSS: u8 = 2;
const SACK_PERMITTED: u8 = 4;
const SACK: u8 = 5;
const TIMESTAMPS: u8 = 8;

/// Blocks of a SACK option that fit into a header.
const BLOCKS: usize = 4;
/// Bytes of an MSS option.
const MSS_BYTES: usize = 4;
/// Bytes of a timestamps option, and of one that permits SACK.
const TIMESTAMPS_BYTES: usize = 10;
const SACK_PERMITTED_BYTES: usize = 2;

/// Options before and after a change, and the place of the one that is looked at.
///
/// It is memory of a map, not of the stack, for the verifier's sake: it follows every value that it
/// can know through every step of a loop, and it knows nothing of what is read from a map.
#[repr(C)]
struct Scratch {
    old: [u8; ROOM],
    new: [u8; ROOM],
    at: u32,
    size: u32,
    /// Options that were changed.
    changed: u32,
    /// The smallest MSS, once there is one.
    mss: u32,
}

/// One for each CPU; no program is interrupted by another on its CPU.
#[btf_map]
static SCRATCH: PerCpuArray<Scratch, 1> = PerCpuArray::new();

impl Scratch {
    #[inline(always)]
    fn at(&self) -> usize {
        // SAFETY: a reference is valid for reads. Volatile, so that the compiler does not keep in a
        // register what the verifier is to forget.
        unsafe { (&raw const self.at).read_volatile() as usize & (ROOM - 1) }
    }

    #[inline(always)]
    fn size(&self) -> usize {
        // SAFETY: as above.
        unsafe { (&raw const self.size).read_volatile() as usize & (ROOM - 1) }
    }

    #[inline(always)]
    fn set_at(&mut self, at: usize) {
        // SAFETY: a unique reference is valid for writes.
        unsafe { (&raw mut self.at).write_volatile(at as u32) };
    }

    #[inline(always)]
    fn set_size(&mut self, size: usize) {
        // SAFETY: as above.
        unsafe { (&raw mut self.size).write_volatile(size as u32) };
    }
}

/// Moves the edges of SACK blocks with the acknowledgment number, or blanks them where the receiver
/// did not agree to them.
#[inline(always)]
pub(crate) fn shift_sack(ctx: &TcContext, segment: &Segment, flow: &Flow) -> Result<(), Reason> {
    let shift = flow.acknowledgment_shift;
    let blank = flow.flags & FLAG_NO_SACK != 0;
    edit(ctx, segment, |scratch, kind| {
        let (start, size) = (scratch.at(), scratch.size());
        // A list of blocks; the receiver does not read it either where it is none.
        if kind != SACK || size % 8 != 2 {
            return;
        }
        scratch.changed = 1;
        if blank {
            return blank_option(scratch, 2 + 8 * BLOCKS);
        }
        for n in 0..2 * BLOCKS {
            if 2 + 4 * n + 4 <= size {
                shift_edge(scratch, start + 2 + 4 * n, shift);
            }
        }
    })
}

/// Takes out of a SYN what a leg is not to have: timestamps, and SACK where `offer` says so (RFC 7323
/// section 3.2, RFC 2018 section 2: what one side does not offer is not used).
#[inline(always)]
pub(crate) fn narrow(ctx: &TcContext, segment: &Segment, offer: u32) -> Result<(), Reason> {
    let without_sack = offer & OFFER_NO_SACK != 0;
    edit(ctx, segment, |scratch, kind| {
        let is_timestamps = kind == TIMESTAMPS && scratch.size() == TIMESTAMPS_BYTES;
        let is_sack = kind == SACK_PERMITTED && scratch.size() == SACK_PERMITTED_BYTES;
        if is_timestamps || without_sack && is_sack {
            scratch.changed = 1;
            blank_option(scratch, TIMESTAMPS_BYTES);
        }
    })
}

/// Replaces an option of at most so many bytes by NOPs.
#[inline(always)]
fn blank_option(scratch: &mut Scratch, most: usize) {
    let (start, size) = (scratch.at(), scratch.size());
    for n in 0..most {
        if n < size {
            scratch.new[(start + n) & (ROOM - 1)] = NOP;
        }
    }
}

#[inline(always)]
fn shift_edge(scratch: &mut Scratch, at: usize, shift: u32) {
    let options = &mut scratch.new;
    let edge = u32::from_be_bytes([
        options[at & (ROOM - 1)],
        options[(at + 1) & (ROOM - 1)],
        options[(at + 2) & (ROOM - 1)],
        options[(at + 3) & (ROOM - 1)],
    ]);
    let [a, b, c, d] = edge.wrapping_add(shift).to_be_bytes();
    options[at & (ROOM - 1)] = a;
    options[(at + 1) & (ROOM - 1)] = b;
    options[(at + 2) & (ROOM - 1)] = c;
    options[(at + 3) & (ROOM - 1)] = d;
}

/// The largest segment that a SYN says its sender takes, the smallest where it says several; what it
/// means where it says nothing (RFC 9293 section 3.7.1).
#[inline(always)]
pub(crate) fn mss(ctx: &TcContext, segment: &Segment) -> u32 {
    let unsaid = if segment.is_v4 { 536 } else { 1220 };
    let Ok(Some(scratch)) = load(ctx, segment) else {
        return unsaid;
    };
    scratch.mss = u32::MAX;
    walk(scratch, segment, |scratch, kind| {
        if kind != MSS || scratch.size() != MSS_BYTES {
            return;
        }
        let at = scratch.at();
        let said = u32::from(u16::from_be_bytes([
            scratch.old[(at + 2) & (ROOM - 1)],
            scratch.old[(at + 3) & (ROOM - 1)],
        ]));
        scratch.mss = scratch.mss.min(said);
    });
    if scratch.mss == u32::MAX {
        unsaid
    } else {
        scratch.mss
    }
}

/// Lets `change` rewrite options, which keep their places; it sees each but NOPs.
#[inline(always)]
fn edit(
    ctx: &TcContext,
    segment: &Segment,
    change: impl Fn(&mut Scratch, u8),
) -> Result<(), Reason> {
    let Some(scratch) = load(ctx, segment)? else {
        return Ok(());
    };
    scratch.new = scratch.old;
    scratch.changed = 0;
    walk(scratch, segment, change);
    if scratch.changed == 0 {
        return Ok(());
    }
    store(ctx, segment, scratch)
}

/// Reads the options, where there are any.
#[inline(always)]
fn load(ctx: &TcContext, segment: &Segment) -> Result<Option<&'static mut Scratch>, Reason> {
    let length = (segment.header_bytes as usize).wrapping_sub(TCP_BYTES);
    if length == 0 || length > OPTIONS_BYTES {
        return Ok(None);
    }
    let scratch = SCRATCH.get_ptr_mut(0).ok_or(Reason::BadLength)?;
    // SAFETY: the map gave the pointer, and nobody else uses the slot of this CPU meanwhile.
    let scratch = unsafe { &mut *scratch };
    let offset = (segment.tcp + TCP_BYTES) as u32;
    scratch.old = [0; ROOM];
    // SAFETY: `old` has room for the 1 to 40 bytes.
    let loaded = unsafe {
        let old = scratch.old.as_mut_ptr().cast();
        bpf_skb_load_bytes(ctx.as_ptr(), offset, old, length as u32)
    };
    if loaded != 0 {
        return Err(Reason::BadLength);
    }
    Ok(Some(scratch))
}

/// Shows every option but NOPs, up to one that is malformed: nothing behind that is an option.
#[inline(always)]
fn walk(scratch: &mut Scratch, segment: &Segment, visit: impl Fn(&mut Scratch, u8)) {
    let length = (segment.header_bytes as usize).wrapping_sub(TCP_BYTES);
    scratch.set_at(0);
    for _ in 0..OPTIONS_BYTES {
        let at = scratch.at();
        if at >= length {
            return;
        }
        let kind = scratch.old[at];
        if kind == NOP {
            scratch.set_at(at + 1);
            continue;
        }
        let size = usize::from(scratch.old[(at + 1) & (ROOM - 1)]);
        if kind == END || size < 2 || at + size > length {
            return;
        }
        scratch.set_size(size);
        visit(scratch, kind);
        scratch.set_at(scratch.at() + scratch.size());
    }
}

#[inline(always)]
fn store(ctx: &TcContext, segment: &Segment, scratch: &mut Scratch) -> Result<(), Reason> {
    let length = (segment.header_bytes as usize).wrapping_sub(TCP_BYTES);
    if length == 0 || length > OPTIONS_BYTES {
        return Ok(());
    }
    let bytes = OPTIONS_BYTES as u32;
    let (old, new) = (scratch.old.as_mut_ptr(), scratch.new.as_mut_ptr());
    let offset = (segment.tcp + TCP_BYTES) as u32;
    let checksum = (segment.tcp + 16) as u32;
    // SAFETY: both have 40 bytes and more; those behind `length` are zero in both and add nothing.
    let stored = unsafe {
        let change = bpf_csum_diff(old.cast(), bytes, new.cast(), bytes, 0);
        let skb = ctx.as_ptr().cast();
        let stored = bpf_skb_store_bytes(skb, offset, new.cast(), length as u32, 0);
        bpf_l4_csum_replace(skb, checksum, 0, u64::from(change as u32), 0);
        stored
    };
    if stored == 0 {
        Ok(())
    } else {
        Err(Reason::BadLength)
    }
}
