//! The moments in which a connection is in the kernel and the daemon's sockets are still there.
//!
//! The last bytes the daemon wrote are in its sockets, which send them again until they are
//! acknowledged; so acknowledgments of just these bytes are left to the sockets. Everything else
//! belongs to the flow.

use aya_ebpf::programs::TcContext;
use lb_common::flow::{Flow, FlowKey, STATE_FIN, STATE_LEAVING, STATE_PEER_FIN, is_after};

use crate::atomic;
use crate::closing;
use crate::events;
use crate::maps::{FLOWS, LEAVING};
use crate::packet;
use crate::segment::{ACK, FIN, RST, SYN, Segment};
use crate::splice;

/// Whether a segment only acknowledges what the daemon's socket has sent, or is a reset that the far end
/// would not obey. The socket judges that one: who has no connection any more answers a segment of the
/// socket in the socket's numbers (RFC 9293 section 3.10.7.1), which may be behind those of the flow.
#[inline(always)]
pub(crate) fn concerns_socket(ctx: &TcContext, segment: &Segment, flow: &mut Flow) -> bool {
    let Some(leaving) = LEAVING.get_ptr(segment.key) else {
        atomic::clear(&mut flow.state, STATE_LEAVING);
        return false;
    };
    let is_reset = segment.flags & (SYN | FIN | RST) == RST;
    let is_plain = is_reset || segment.flags & (SYN | FIN | RST | ACK) == ACK;
    if !is_plain || splice::payload(ctx, segment) != Ok(0) {
        return false;
    }
    let Some(words) = packet::at::<[u32; 5]>(ctx, segment.tcp) else {
        return false;
    };
    if is_reset {
        // SAFETY: `at` checked 20 bytes.
        return closing::is_stray(flow, u32::from_be(unsafe { (*words)[1] }));
    }
    // SAFETY: `at` checked 20 bytes, and the map gave the other pointer.
    let (acknowledgment, until) = unsafe { (u32::from_be((*words)[2]), (*leaving).until) };
    if is_after(acknowledgment, until) {
        return false;
    }
    if is_after(acknowledgment, flow.highest_acknowledgment) {
        events::acknowledge(&segment.key, flow, acknowledgment, until);
    }
    true
}

/// Notes how much a peer has acknowledged, if it may: what the daemon's socket sends, or what was
/// carried. Tells whether it may.
///
/// The daemon leaves when its bytes are acknowledged, so here nobody is believed who only knows the
/// addresses of a connection.
#[inline(always)]
pub(crate) fn acknowledge(segment: &Segment, flow: &mut Flow, acknowledgment: u32) -> bool {
    let Some(leaving) = LEAVING.get_ptr(segment.key) else {
        let may = is_carried(flow, acknowledgment);
        if may {
            flow.highest_acknowledgment = acknowledgment;
        }
        return may;
    };
    // SAFETY: the map gave the pointer.
    let until = unsafe { (*leaving).until };
    let may = !is_after(acknowledgment, until) || is_carried(flow, acknowledgment);
    if may {
        events::acknowledge(&segment.key, flow, acknowledgment, until);
    }
    may
}

/// Whether so much was carried to the sender of `flow`.
#[inline(always)]
fn is_carried(flow: &Flow, acknowledgment: u32) -> bool {
    FLOWS
        .get_ptr(FlowKey::reverse(flow))
        .is_some_and(|reverse| {
            // SAFETY: the map gave the pointer.
            let (highest, shift) =
                unsafe { ((*reverse).highest_sequence, (*reverse).sequence_shift) };
            !is_after(acknowledgment, highest.wrapping_add(shift))
        })
}

/// Whether the daemon passes on a FIN on the leg that `flow` arrives on; if so, the FIN is noted as
/// if it had been carried.
#[inline(always)]
pub(crate) fn finishes(arriving: FlowKey, flow: *mut Flow) -> bool {
    let Some(leaving) = LEAVING.get_ptr(arriving) else {
        return false;
    };
    // SAFETY: the maps gave these pointers and the next, to three different entries.
    let (leaving, flow) = unsafe { (&*leaving, &mut *flow) };
    if leaving.may_finish == 0 {
        return false;
    }
    if let Some(ended) = FLOWS.get_ptr_mut(FlowKey::reverse(flow)) {
        // SAFETY: as above.
        let ended = unsafe { &mut *ended };
        if atomic::set(&mut ended.state, STATE_FIN) & STATE_FIN == 0 {
            ended.highest_sequence = ended.highest_sequence.wrapping_add(1);
            atomic::set(&mut flow.state, STATE_PEER_FIN);
        }
    }
    true
}
