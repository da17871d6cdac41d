//! SYNs of connections that may be spliced later: what both legs must agree on is agreed on here.
//!
//! Timestamps would have to be translated, echo for echo; without them a leg is simpler, and no
//! sysctl of the host has to change for it. ECN (RFC 3168) marks would be carried from one leg to
//! the other, where nobody negotiated them.

use aya_ebpf::EbpfContext as _;
use aya_ebpf::helpers::generated::{bpf_ktime_get_coarse_ns, bpf_l4_csum_replace};
use aya_ebpf::programs::TcContext;

use lb_common::flow::{FlowKey, Handshake};

use crate::checksum;
use crate::maps::HANDSHAKES;
use crate::options;
use crate::packet;
use crate::segment::{Segment, TCP_BYTES};
use crate::splice;

/// ECE and CWR of a SYN ask for ECN, and with AE, the last bit before the flags, for accurate ECN
/// (RFC 9768), for which a server may take any of the three.
const ECN: u8 = 0xc0;
const ACCURATE_ECN: u8 = 0x01;

/// What the daemon has said of the connection that it is about to open; nothing of one that is not to
/// be spliced, or not the daemon's.
#[inline(always)]
pub(crate) fn offer(arriving: &FlowKey) -> Option<u32> {
    // SAFETY: the map gave the pointer.
    HANDSHAKES
        .get_ptr(arriving)
        .map(|handshake| unsafe { (*handshake).offer })
}

/// Makes a SYN ask for neither timestamps nor ECN, nor for what `offer` forbids, and remembers that
/// it passed here.
///
/// `arriving` is the key under which segments of this peer arrive. A socket whose addresses were
/// translated on the way (NAT), or whose packets take an interface without these programs, has other
/// addresses than those that were seen here; what was not seen is not spliced.
#[inline(always)]
pub(crate) fn normalise(ctx: &TcContext, segment: &Segment, arriving: FlowKey, offer: u32) {
    if splice::payload(ctx, segment).is_err() {
        // A SYN that is malformed is the host's to judge.
        return;
    }
    // SAFETY: a plain call of a helper without arguments.
    let now = unsafe { bpf_ktime_get_coarse_ns() };
    // A connection that could not be remembered stays with the daemon.
    let handshake = Handshake {
        since: now,
        mss: 0,
        // The SYN may have to be sent again.
        offer,
    };
    let _result = HANDSHAKES.insert(arriving, handshake, 0);
    if segment.header_bytes > TCP_BYTES as u32 {
        // It is not malformed, so its options can be read.
        let _result = options::narrow(ctx, segment, offer);
    }
    clear_ecn(ctx, segment);
}

/// Keeps the size of segments that a broker takes; the host's own view of it is narrowed by what the
/// daemon had it promise.
#[inline(always)]
pub(crate) fn answered(ctx: &TcContext, segment: &Segment) {
    if let Some(handshake) = HANDSHAKES.get_ptr_mut(segment.key) {
        // SAFETY: the map gave the pointer.
        unsafe { (*handshake).mss = options::mss(ctx, segment) };
    }
}

#[inline(always)]
fn clear_ecn(ctx: &TcContext, segment: &Segment) {
    let Some(words) = packet::at::<[u32; 5]>(ctx, segment.tcp) else {
        return;
    };
    // SAFETY: `at` checked 20 bytes; the helper is called last, when no pointer is in use.
    unsafe {
        let old = (*words)[3];
        let [offset, flags, w0, w1] = old.to_ne_bytes();
        let new = u32::from_ne_bytes([offset & !ACCURATE_ECN, flags & !ECN, w0, w1]);
        if new == old {
            return;
        }
        (*words)[3] = new;
        let change = u64::from(checksum::fold(checksum::change(old, new)));
        bpf_l4_csum_replace(ctx.as_ptr().cast(), (segment.tcp + 16) as u32, 0, change, 0);
    }
}
