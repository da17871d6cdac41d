//! Ends on this host itself: what they send is taken where it leaves, and what they get comes by the
//! loopback interface, as it always does.
//!
//! A packet is accepted from a host's own address only with the route it was sent by, which the
//! loopback keeps with it. The redirect to the loopback looks up such a route. For IPv4 it finds none
//! to an address that belongs to another interface, only to 127.0.0.0/8; there the packet borrows
//! 127.0.0.1 until it is on the loopback. Every route to this host delivers alike.

use aya_ebpf::bindings::TC_ACT_UNSPEC;
use aya_ebpf::programs::TcContext;

use crate::packet::{self, ETHERNET_BYTES};

/// `LOOPBACK_IFINDEX` of the kernel: in every namespace the loopback is the first.
pub(crate) const INTERFACE: u32 = 1;

/// 127.0.0.1 as it lies in memory.
const LOCALHOST: u32 = 0x7f00_0001_u32.to_be();
/// Beside a packet: its destination is borrowed, the real one is in the next word.
const BORROWED: u32 = u32::from_be_bytes(*b"lent");

/// Whether a packet is on the loopback.
#[inline(always)]
pub(crate) fn has(ctx: &TcContext) -> bool {
    // SAFETY: the context is valid while the program runs.
    unsafe { (*ctx.skb.skb).ifindex == INTERFACE }
}

/// Lends a packet with an IPv4 header the destination that a route by the loopback leads to.
#[inline(always)]
pub(crate) fn borrow(ctx: &TcContext) {
    let Some(words) = packet::at::<[u32; 5]>(ctx, ETHERNET_BYTES) else {
        return;
    };
    // SAFETY: `at` checked 20 bytes, and the context is valid while the program runs.
    unsafe {
        let destination = (*words)[4];
        if destination.to_ne_bytes()[0] != 127 {
            (*words)[4] = LOCALHOST;
            (*ctx.skb.skb).cb[0] = BORROWED;
            (*ctx.skb.skb).cb[1] = destination;
        }
    }
}

/// Gives a packet that came from elsewhere, and is on the loopback, its destination back.
#[inline(always)]
pub(crate) fn give_back(ctx: &TcContext) -> i32 {
    // SAFETY: the context is valid while the program runs.
    let skb = unsafe { &mut *ctx.skb.skb };
    if skb.ifindex != INTERFACE || skb.cb[0] != BORROWED {
        return TC_ACT_UNSPEC;
    }
    let destination = skb.cb[1];
    skb.cb[0] = 0;
    if let Some(words) = packet::at::<[u32; 5]>(ctx, ETHERNET_BYTES) {
        // SAFETY: `at` checked 20 bytes. The checksums are those of this destination.
        unsafe { (*words)[4] = destination };
    }
    TC_ACT_UNSPEC
}
