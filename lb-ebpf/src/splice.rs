//! Carries a segment of one leg over to the other, as if both ends talked to each other.
//!
//! The byte at any place of a stream has a sequence number on each leg, and the two differ by a
//! constant: user space relayed byte for byte before it left. So a segment is carried by adding two
//! constants, and both ends keep their own retransmission, flow control and congestion control.
//! Nothing is kept or answered here.

use aya_ebpf::EbpfContext as _;
use aya_ebpf::bindings::{BPF_F_PSEUDO_HDR, TC_ACT_SHOT, TC_ACT_UNSPEC};
use aya_ebpf::helpers::generated::{
    bpf_csum_update, bpf_ktime_get_coarse_ns, bpf_l4_csum_replace, bpf_redirect_neigh,
};
use aya_ebpf::programs::TcContext;
use lb_common::flow::{Flow, STATE_GAP, STATE_LEAVING, is_after};
use lb_common::reason::Reason;

use crate::closing::Said;
use crate::packet::{self, ETHERNET_BYTES};
use crate::segment::{ACK, FIN, RST, SYN, Segment, TCP_BYTES};
use crate::{checksum, closing, leaving, loopback, options, reasons};

/// Offset of the checksum in a TCP header.
const CHECKSUM: usize = 16;

/// Rewrites a segment of `flow` and sends it on; the verdict is that of the redirect.
#[inline(always)]
pub(crate) fn carry(ctx: &TcContext, segment: &Segment, flow: *mut Flow) -> i32 {
    // SAFETY: the map gave the pointer; entries are not freed while the program runs. Every field is
    // an integer, and a torn read of one that the daemon replaces cannot be seen: it writes once.
    let flow = unsafe { &mut *flow };
    if flow.state & STATE_LEAVING != 0 && leaving::concerns_socket(ctx, segment, flow) {
        return TC_ACT_UNSPEC;
    }
    match rewrite(ctx, segment, flow) {
        Ok(()) => send(ctx, flow, segment.is_v4),
        Err(reason) => {
            reasons::count(reason);
            TC_ACT_SHOT
        }
    }
}

/// Sends a packet that has been rewritten to the receiver of `flow`.
#[inline(always)]
pub(crate) fn send(ctx: &TcContext, flow: &Flow, is_v4: bool) -> i32 {
    if flow.interface == loopback::INTERFACE {
        if loopback::has(ctx) {
            // From one end on this host to the other, and already on its way.
            return TC_ACT_UNSPEC;
        }
        if is_v4 {
            loopback::borrow(ctx);
        }
    }
    // SAFETY: no parameters are given, so the kernel looks up the next hop by itself.
    unsafe { bpf_redirect_neigh(flow.interface, core::ptr::null_mut(), 0, 0) as i32 }
}

#[inline(always)]
fn rewrite(ctx: &TcContext, segment: &Segment, flow: &mut Flow) -> Result<(), Reason> {
    let payload = payload(ctx, segment)?;
    if segment.header_bytes > TCP_BYTES as u32 && segment.flags & SYN == 0 {
        options::shift_sack(ctx, segment, flow)?;
    }
    let network_change = if segment.is_v4 {
        rewrite_v4(ctx, flow)?
    } else {
        rewrite_v6(ctx, flow)?
    };
    let transport_change = rewrite_tcp(ctx, segment, flow, payload)?;

    let skb = ctx.as_ptr();
    let offset = (segment.tcp + CHECKSUM) as u32;
    let address_change = u64::from(flow.address_change);
    // SAFETY: plain calls of helpers. With BPF_F_PSEUDO_HDR for the addresses and without for the
    // rest they are right for checksums that the device is still to complete.
    unsafe {
        bpf_l4_csum_replace(
            skb.cast(),
            offset,
            0,
            address_change,
            u64::from(BPF_F_PSEUDO_HDR),
        );
        bpf_l4_csum_replace(skb.cast(), offset, 0, u64::from(transport_change), 0);
        if !segment.is_v4 {
            // No checksum of its own makes up for the change of this header in a sum over the
            // whole packet that a device computed.
            bpf_csum_update(skb.cast(), network_change);
        }
    }
    Ok(())
}

/// Bytes of payload; an error where the lengths contradict each other.
#[inline(always)]
pub(crate) fn payload(ctx: &TcContext, segment: &Segment) -> Result<u32, Reason> {
    let there = ctx.len().saturating_sub(segment.tcp as u32);
    // A super-packet of 64 KiB and more cannot say its length.
    let bytes = if segment.bytes == 0 && ctx.len() > 0xffff {
        there
    } else {
        segment.bytes
    };
    if segment.header_bytes < TCP_BYTES as u32 || segment.header_bytes > bytes || bytes > there {
        return Err(Reason::BadLength);
    }
    Ok(bytes - segment.header_bytes)
}

/// New addresses, one hop less, and the header's own checksum.
#[inline(always)]
fn rewrite_v4(ctx: &TcContext, flow: &Flow) -> Result<u32, Reason> {
    let header = packet::at::<[u32; 5]>(ctx, ETHERNET_BYTES).ok_or(Reason::BadLength)?;
    // SAFETY: `at` checked 20 bytes.
    let words = unsafe { &mut *header };
    let [ttl, protocol, c0, c1] = words[2].to_ne_bytes();
    if ttl <= 1 {
        return Err(Reason::TimeToLive);
    }
    let change = u64::from(flow.address_change)
        + checksum::change(
            u32::from_ne_bytes([ttl, protocol, 0, 0]),
            u32::from_ne_bytes([ttl - 1, protocol, 0, 0]),
        );
    let [c0, c1] = checksum::update(u16::from_ne_bytes([c0, c1]), change).to_ne_bytes();
    words[2] = u32::from_ne_bytes([ttl - 1, protocol, c0, c1]);
    words[3] = word(&flow.source, 3);
    words[4] = word(&flow.destination, 3);
    Ok(0)
}

/// New addresses and one hop less; tells what that adds to a sum over the packet.
#[inline(always)]
fn rewrite_v6(ctx: &TcContext, flow: &Flow) -> Result<u32, Reason> {
    let header = packet::at::<[u32; 10]>(ctx, ETHERNET_BYTES).ok_or(Reason::BadLength)?;
    // SAFETY: `at` checked 40 bytes.
    let words = unsafe { &mut *header };
    let old = words[1];
    let [l0, l1, next_header, hops] = old.to_ne_bytes();
    if hops <= 1 {
        return Err(Reason::TimeToLive);
    }
    words[1] = u32::from_ne_bytes([l0, l1, next_header, hops - 1]);
    for n in 0..4 {
        words[2 + n] = word(&flow.source, n);
        words[6 + n] = word(&flow.destination, n);
    }
    let change = checksum::change(old, words[1]) + u64::from(flow.address_change);
    Ok(checksum::fold(change))
}

/// Word `n` of an address, as it lies in memory.
#[inline(always)]
pub(crate) fn word(address: &[u8; 16], n: usize) -> u32 {
    // SAFETY: `n` is a literal below 4 at every call, and addresses of a flow are aligned to 4.
    unsafe { *address.as_ptr().cast::<u32>().add(n) }
}

/// New ports, numbers and window; counts the segment; tells what that adds to its checksum.
#[inline(always)]
fn rewrite_tcp(
    ctx: &TcContext,
    segment: &Segment,
    flow: &mut Flow,
    payload: u32,
) -> Result<u32, Reason> {
    let header = packet::at::<[u32; 5]>(ctx, segment.tcp).ok_or(Reason::BadLength)?;
    // SAFETY: `at` checked 20 bytes.
    let words = unsafe { &mut *header };
    let old = [words[0], words[1], words[2], words[3]];
    let sequence = u32::from_be(old[1]);
    let acknowledgment = u32::from_be(old[2]);

    let [s0, s1] = flow.source_port.to_be_bytes();
    let [d0, d1] = flow.destination_port.to_be_bytes();
    words[0] = u32::from_ne_bytes([s0, s1, d0, d1]);
    words[1] = sequence.wrapping_add(flow.sequence_shift).to_be();
    if segment.flags & ACK != 0 {
        words[2] = acknowledgment
            .wrapping_add(flow.acknowledgment_shift)
            .to_be();
    }
    if segment.flags & SYN == 0 {
        words[3] = with_window(old[3], flow);
    }
    let change = checksum::change(old[0], words[0])
        + checksum::change(old[1], words[1])
        + checksum::change(old[2], words[2])
        + checksum::change(old[3], words[3]);

    observe(segment, flow, sequence, acknowledgment, payload);
    Ok(checksum::fold(change))
}

/// The window in the units of the other leg; one that is open stays open.
#[inline(always)]
fn with_window(word: u32, flow: &Flow) -> u32 {
    let [offset, flags, w0, w1] = word.to_ne_bytes();
    let announced = u32::from(u16::from_be_bytes([w0, w1]));
    let bytes = announced << (flow.window_left & 15);
    let mut window = bytes >> (flow.window_right & 15);
    if window > 0xffff {
        window = 0xffff;
    }
    if window == 0 && announced != 0 {
        window = 1;
    }
    let [w0, w1] = (window as u16).to_be_bytes();
    u32::from_ne_bytes([offset, flags, w0, w1])
}

/// Keeps what timeouts, resets and `sluice flows` need to know of this direction.
#[inline(always)]
fn observe(segment: &Segment, flow: &mut Flow, sequence: u32, acknowledgment: u32, payload: u32) {
    flow.packets += 1;
    flow.bytes += u64::from(payload);
    // SAFETY: a plain call of a helper without arguments.
    flow.last_seen = unsafe { bpf_ktime_get_coarse_ns() };
    let mut acknowledged = flow.highest_acknowledgment;
    if segment.flags & ACK != 0 && is_after(acknowledgment, acknowledged) {
        if flow.state & STATE_LEAVING == 0 {
            flow.highest_acknowledgment = acknowledgment;
            acknowledged = acknowledgment;
        } else if leaving::acknowledge(segment, flow, acknowledgment) {
            acknowledged = acknowledgment;
        }
    }
    let fin = u32::from(segment.flags & FIN != 0);
    let end = sequence.wrapping_add(payload).wrapping_add(fin);
    let mut sent = flow.highest_sequence;
    if segment.flags & (SYN | RST) == 0
        && is_after(end, sent)
        && closing::advance(flow, sequence, end)
    {
        sent = end;
    }
    if segment.flags & (FIN | RST) != 0 || flow.state & !(STATE_LEAVING | STATE_GAP) != 0 {
        let said = Said {
            sequence,
            end,
            sent,
            acknowledged,
        };
        closing::observe(segment, flow, said);
    }
}
