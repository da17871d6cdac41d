//! Counts the connections that clients ask for, and tells which of them may be spliced.

use aya_ebpf::programs::TcContext;
use aya_log_ebpf::debug;
use lb_common::listener::ListenerKey;

use crate::atomic;
use crate::maps::LISTENERS;
use crate::segment::Segment;

/// The family of the address, then zeros: the unspecified address of IPv4, mapped.
const UNSPECIFIED_V4: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0];
const UNSPECIFIED_V6: [u8; 16] = [0; 16];

/// Counts a SYN for the listener it is meant for, the most specific address first; tells whether
/// its connections may be spliced.
#[inline(always)]
pub(crate) fn count_syn(ctx: &TcContext, segment: &Segment) -> bool {
    let any = if segment.is_v4 {
        UNSPECIFIED_V4
    } else {
        UNSPECIFIED_V6
    };
    let port = segment.key.destination_port;
    let Some(may_splice) = count(segment.key.destination, port).or_else(|| count(any, port)) else {
        return false;
    };
    debug!(
        ctx,
        "SYN from [{:i}]:{} for port {}", segment.key.source, segment.key.source_port, port
    );
    may_splice
}

#[inline(always)]
fn count(address: [u8; 16], port: u16) -> Option<bool> {
    let key = ListenerKey {
        address,
        port: u32::from(port),
    };
    let listener = LISTENERS.get_ptr_mut(key)?;
    // SAFETY: the map gave the pointer, aligned to 8 bytes and valid until the program ends.
    unsafe {
        atomic::add(&raw mut (*listener).syns, 1);
        Some((*listener).may_splice != 0)
    }
}
