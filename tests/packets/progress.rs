//! How far the two ends of a connection have got, for the model.

use lb_common::flow::{
    Flow, STATE_CLOSED, STATE_FIN, STATE_FIN_ACKNOWLEDGED, STATE_GAP, STATE_PEER_FIN,
};

/// The sender has sent up to `end`, as far as that can be believed: the segments follow on each other,
/// or leave a gap within the largest window there can be (RFC 7323 section 2.3).
pub(crate) fn advance(flow: &mut Flow, back: Option<&Flow>, sequence: u32, end: u32) {
    let leaves_gap = is_after(sequence, flow.highest_sequence);
    if !leaves_gap && flow.state & STATE_GAP == 0 {
        flow.highest_sequence = end;
        return;
    }
    let Some(back) = back else {
        return;
    };
    let there = end.wrapping_add(flow.sequence_shift);
    if is_after(there.wrapping_sub(1 << 30), back.highest_acknowledgment) {
        return;
    }
    if is_proven(flow, back) {
        flow.state &= !STATE_GAP;
    }
    if leaves_gap {
        flow.state |= STATE_GAP;
        flow.gap_end = sequence;
    }
    flow.highest_sequence = end;
}

/// Whether nothing was missing before what the sender has sent last, or its receiver has got it since.
pub(crate) fn is_proven(flow: &Flow, back: &Flow) -> bool {
    let [gap_end, end] =
        [flow.gap_end, flow.highest_sequence].map(|at| at.wrapping_add(flow.sequence_shift));
    let got = back.highest_acknowledgment;
    flow.state & STATE_GAP == 0 || !is_after(gap_end, got) && !is_after(got, end)
}

/// Follows FINs and what acknowledges them: `end` is where a segment with FIN ends.
pub(crate) fn finish(flow: &mut Flow, back: &mut Flow, end: Option<u32>) {
    if end == Some(flow.highest_sequence) {
        flow.state |= STATE_FIN;
        back.state |= STATE_PEER_FIN;
    }
    let acknowledged = flow
        .highest_acknowledgment
        .wrapping_add(flow.acknowledgment_shift);
    if flow.state & STATE_PEER_FIN != 0 && !is_after(back.highest_sequence, acknowledged) {
        back.state |= STATE_FIN_ACKNOWLEDGED;
    }
    if flow.state & back.state & STATE_FIN_ACKNOWLEDGED != 0 {
        flow.state |= STATE_CLOSED;
        back.state |= STATE_CLOSED;
    }
}

/// RFC 9293 section 3.4: within half of the sequence space ahead.
pub(crate) fn is_after(a: u32, b: u32) -> bool {
    (1..1 << 31).contains(&a.wrapping_sub(b))
}
