//! Notices when a connection has ended; the daemon removes what is closed.
//!
//! Both ends' stacks decide what a FIN or a reset means to them; this only has to know when nothing
//! more will come.

use aya_ebpf::programs::TcContext;
use lb_common::event::{EVENT_CLOSED, EVENT_REPLACED};
use lb_common::flow::{
    Flow, FlowKey, STATE_CLOSED, STATE_FIN, STATE_FIN_ACKNOWLEDGED, STATE_GAP, STATE_PEER_FIN,
    STATE_REPLACED, is_after,
};

use crate::atomic;
use crate::events;
use crate::maps::FLOWS;
use crate::packet;
use crate::segment::{FIN, RST, Segment};
use crate::splice;

/// Nobody sends further ahead of what is acknowledged: the largest window (RFC 7323 section 2.3).
const LARGEST_WINDOW: u32 = 1 << 30;

/// Moves the end of what the sender of `flow` has sent to `end`, raw, by a segment that began at
/// `sequence`.
///
/// A segment that does not follow on the one before leaves a gap. It may be natural, or the segment
/// forged by someone who knows the addresses of the connection, so it counts only where its receiver
/// could take it; else a few of them could go all around sequence space. Tells whether it did.
#[inline(always)]
pub(crate) fn advance(flow: &mut Flow, sequence: u32, end: u32) -> bool {
    let leaves_gap = is_after(sequence, flow.highest_sequence);
    if leaves_gap || flow.state & STATE_GAP != 0 {
        let Some(reverse) = FLOWS.get_ptr(FlowKey::reverse(flow)) else {
            return false;
        };
        // SAFETY: the map gave the pointer.
        let acknowledged = acknowledged(flow, unsafe { &*reverse });
        if is_after(end, acknowledged.wrapping_add(LARGEST_WINDOW)) {
            return false;
        }
        if is_filled(flow, acknowledged) {
            atomic::clear(&mut flow.state, STATE_GAP);
        }
        if leaves_gap {
            flow.gap_end = sequence;
            atomic::set(&mut flow.state, STATE_GAP);
        }
    }
    flow.highest_sequence = end;
    true
}

/// What a segment says of its sender, raw: it has sent and acknowledged all up to here, and this segment
/// goes from `sequence` to `end`.
///
/// Known from the segment and not read from the flow again: another CPU may write there at this moment
/// what an earlier segment of the same sender said.
#[derive(Clone, Copy)]
pub(crate) struct Said {
    pub sequence: u32,
    pub end: u32,
    pub sent: u32,
    pub acknowledged: u32,
}

/// Looks at a segment with FIN or RST, or at any after a FIN.
#[inline(always)]
pub(crate) fn observe(segment: &Segment, flow: &mut Flow, said: Said) {
    let Some(reverse) = FLOWS.get_ptr_mut(FlowKey::reverse(flow)) else {
        return;
    };
    // SAFETY: the map gave the pointer, and it is another entry than `flow`: its key differs.
    let reverse = unsafe { &mut *reverse };

    if segment.flags & RST != 0 {
        if is_exact(flow, reverse, said.sequence) {
            close(segment, flow, reverse);
        }
        return;
    }
    if segment.flags & FIN != 0 && said.end == said.sent {
        atomic::set(&mut flow.state, STATE_FIN);
        atomic::set(&mut reverse.state, STATE_PEER_FIN);
    }
    let acknowledged = said.acknowledged.wrapping_add(flow.acknowledgment_shift);
    let all_is_acknowledged = !is_after(reverse.highest_sequence, acknowledged);
    if flow.state & STATE_PEER_FIN != 0 && all_is_acknowledged {
        atomic::set(&mut reverse.state, STATE_FIN_ACKNOWLEDGED);
    }
    // Both ends may acknowledge at the same moment; here at least one of the two finds both.
    let both = atomic::read(&flow.state) & atomic::read(&reverse.state);
    if both & STATE_FIN_ACKNOWLEDGED != 0 {
        close(segment, flow, reverse);
    }
}

#[inline(always)]
fn close(segment: &Segment, flow: &mut Flow, reverse: &mut Flow) {
    let before = atomic::set(&mut flow.state, STATE_CLOSED);
    atomic::set(&mut reverse.state, STATE_CLOSED);
    if before & STATE_CLOSED == 0 {
        events::tell(EVENT_CLOSED, &segment.key, flow);
    }
}

/// Whether a flow is that of a closed connection whose addresses are in use again; a SYN makes it so.
#[inline(always)]
pub(crate) fn is_replaced(flow: *mut Flow, is_syn: bool) -> bool {
    // SAFETY: the map gave the pointer.
    let flow = unsafe { &mut *flow };
    if is_syn && flow.state & STATE_CLOSED != 0 {
        let before = atomic::set(&mut flow.state, STATE_REPLACED);
        if let Some(reverse) = FLOWS.get_ptr_mut(FlowKey::reverse(flow)) {
            // SAFETY: the map gave the pointer, and it is another entry.
            let reverse = unsafe { &mut *reverse };
            atomic::set(&mut reverse.state, STATE_REPLACED);
            if before & STATE_REPLACED == 0 {
                events::tell(EVENT_REPLACED, &FlowKey::reverse(reverse), flow);
            }
        }
    }
    flow.state & STATE_REPLACED != 0
}

/// Whether a FIN or a reset that leaves this host was carried from an end on it, so not said by the
/// host; `against` is the flow of the opposite direction.
///
/// What a carried one looks like is known from when it was carried. A reset that closed nothing is not
/// known; it is one that its receiver would not have obeyed.
#[inline(always)]
pub(crate) fn was_carried(ctx: &TcContext, segment: &Segment, against: *const Flow) -> bool {
    // SAFETY: the map gave this pointer and the next.
    let Some(flow) = FLOWS.get_ptr(FlowKey::reverse(unsafe { &*against })) else {
        return false;
    };
    let flow = unsafe { &*flow };
    if segment.flags & RST != 0 {
        return flow.state & STATE_CLOSED != 0;
    }
    let (Some(words), Ok(payload)) = (
        packet::at::<[u32; 2]>(ctx, segment.tcp),
        splice::payload(ctx, segment),
    ) else {
        return false;
    };
    // SAFETY: `at` checked 8 bytes.
    let sequence = u32::from_be(unsafe { (*words)[1] });
    let end = sequence.wrapping_add(payload).wrapping_add(1);
    flow.state & STATE_FIN != 0 && end == flow.highest_sequence.wrapping_add(flow.sequence_shift)
}

/// Whether a reset is one that its receiver obeys: at what it has acknowledged (RFC 5961 section
/// 3.2), or at the end of what the sender has sent, where the last segments are on their way. The
/// latter counts only where that end is proven: else whoever knows the addresses of a connection
/// could first move it, and then hit it.
#[inline(always)]
fn is_exact(flow: &Flow, reverse: &Flow, sequence: u32) -> bool {
    let acknowledged = acknowledged(flow, reverse);
    sequence == acknowledged
        || sequence == flow.highest_sequence
            && (flow.state & STATE_GAP == 0 || is_filled(flow, acknowledged))
}

/// Whether a reset that arrives on `flow` is one that its receiver does not obey.
#[inline(always)]
pub(crate) fn is_stray(flow: &Flow, sequence: u32) -> bool {
    FLOWS
        .get_ptr(FlowKey::reverse(flow))
        // SAFETY: the map gave the pointer.
        .is_some_and(|reverse| !is_exact(flow, unsafe { &*reverse }, sequence))
}

/// What the receiver of `flow` has acknowledged, in the numbers of its sender.
#[inline(always)]
fn acknowledged(flow: &Flow, reverse: &Flow) -> u32 {
    reverse
        .highest_acknowledgment
        .wrapping_sub(flow.sequence_shift)
}

/// Whether the receiver has all that is before the end of the last gap. What was never sent it does
/// not acknowledge, and an acknowledgment of more than was sent is forged.
#[inline(always)]
fn is_filled(flow: &Flow, acknowledged: u32) -> bool {
    !is_after(flow.gap_end, acknowledged) && !is_after(acknowledged, flow.highest_sequence)
}
