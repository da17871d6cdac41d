//! Gives a flow another interface to leave by, when the daemon asks for it.
//!
//! The daemon could only replace the whole value, and with it what was counted and observed since it
//! read it; a program stores one word, in one piece.

use aya_ebpf::bindings::{TC_ACT_OK, TC_ACT_SHOT};
use aya_ebpf::programs::TcContext;
use lb_common::flow::Reroute;

use crate::maps::FLOWS;
use crate::packet::{self, ETHERNET_BYTES};

/// `TC_ACT_OK` where there was such a flow.
#[inline(always)]
pub(crate) fn answer(ctx: &TcContext) -> i32 {
    let Some(asked) = packet::at::<Reroute>(ctx, ETHERNET_BYTES) else {
        return TC_ACT_SHOT;
    };
    // SAFETY: `at` checked the bytes, any of which are a value.
    let asked = unsafe { asked.read_unaligned() };
    let Some(flow) = FLOWS.get_ptr_mut(asked.key) else {
        return TC_ACT_SHOT;
    };
    // SAFETY: the map gave the pointer; nothing else writes this word, and those who read it on other
    // CPUs find the old value or the new one.
    unsafe {
        if (*flow).session != asked.session {
            return TC_ACT_SHOT;
        }
        (&raw mut (*flow).interface).write_volatile(asked.interface);
    }
    TC_ACT_OK
}
