//! Notices when a connection has ended; the daemon removes what is closed.
//!
//! Both ends' stacks decide what a FIN or a reset means to them; this only has to know when nothing
//! more will come.

use lb_common::flow::{
    Flow, FlowKey, STATE_CLOSED, STATE_FIN, STATE_FIN_ACKNOWLEDGED, STATE_GAP, STATE_PEER_FIN,
    STATE_REPLACED, is_after,
};

use crate::maps::FLOWS;
use crate::segment::{FIN, RST, Segment};

/// Looks at a segment with FIN or RST, or at any after a FIN; `end` is where it ends, raw.
#[inline(always)]
pub(crate) fn observe(segment: &Segment, flow: &mut Flow, sequence: u32, end: u32) {
    let Some(reverse) = FLOWS.get_ptr_mut(FlowKey::reverse(flow)) else {
        return;
    };
    // SAFETY: the map gave the pointer, and it is another entry than `flow`: its key differs.
    let reverse = unsafe { &mut *reverse };

    if segment.flags & RST != 0 {
        if is_exact(flow, reverse, sequence) {
            flow.state |= STATE_CLOSED;
            reverse.state |= STATE_CLOSED;
        }
        return;
    }
    if segment.flags & FIN != 0 && end == flow.highest_sequence {
        flow.state |= STATE_FIN;
        reverse.state |= STATE_PEER_FIN;
    }
    if flow.state & STATE_PEER_FIN != 0 && acknowledges_all(flow, reverse) {
        reverse.state |= STATE_FIN_ACKNOWLEDGED;
    }
    if flow.state & reverse.state & STATE_FIN_ACKNOWLEDGED != 0 {
        flow.state |= STATE_CLOSED;
        reverse.state |= STATE_CLOSED;
    }
}

/// Whether a flow is that of a closed connection whose addresses are in use again; a SYN makes it so.
#[inline(always)]
pub(crate) fn is_replaced(flow: *mut Flow, is_syn: bool) -> bool {
    // SAFETY: the map gave the pointer.
    let flow = unsafe { &mut *flow };
    if is_syn && flow.state & STATE_CLOSED != 0 {
        flow.state |= STATE_REPLACED;
        if let Some(reverse) = FLOWS.get_ptr_mut(FlowKey::reverse(flow)) {
            // SAFETY: the map gave the pointer, and it is another entry.
            unsafe { (*reverse).state |= STATE_REPLACED };
        }
    }
    flow.state & STATE_REPLACED != 0
}

/// Whether a reset is one that its receiver obeys: at what it has acknowledged (RFC 5961 section
/// 3.2), or at the end of what the sender has sent, where the last segments are on their way. The
/// latter counts only while every segment followed on the one before: else whoever knows the
/// addresses of a connection could first move that end, and then hit it.
#[inline(always)]
fn is_exact(flow: &Flow, reverse: &Flow, sequence: u32) -> bool {
    let there = sequence.wrapping_add(flow.sequence_shift);
    there == reverse.highest_acknowledgment
        || flow.state & STATE_GAP == 0 && sequence == flow.highest_sequence
}

/// Whether the sender of `flow` has acknowledged all that was sent to it, the FIN included.
#[inline(always)]
fn acknowledges_all(flow: &Flow, reverse: &Flow) -> bool {
    let acknowledged = flow
        .highest_acknowledgment
        .wrapping_add(flow.acknowledgment_shift);
    !is_after(reverse.highest_sequence, acknowledged)
}
