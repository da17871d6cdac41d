//! Checked access to the bytes of a packet; the only pointer arithmetic of the kernel half.

use aya_ebpf::programs::TcContext;

/// Bytes of an Ethernet header; VLAN tags are kept beside the packet, not in it.
pub(crate) const ETHERNET_BYTES: usize = 14;
/// Bytes that the headers of a segment may take: Ethernet, the longest IPv4, the longest TCP.
const HEADERS_BYTES: u32 = 14 + 60 + 60;

/// Whether a packet is for this host, and has no VLAN tag beside it. One with a tag belongs to a VLAN
/// interface, one for somebody else to the bridge or the capture it was delivered for; where that
/// passes it up, it comes along once more.
#[inline(always)]
pub(crate) fn is_for_host(ctx: &TcContext) -> bool {
    const PACKET_HOST: u32 = 0;
    // SAFETY: the context is valid while the program runs.
    let skb = unsafe { &*ctx.skb.skb };
    skb.pkt_type == PACKET_HOST && skb.vlan_present == 0
}

/// A pointer to the `T` at `offset`, or nothing where the linear part of the packet ends before it
/// does. It is good until a helper is called that may move the packet.
#[inline(always)]
pub(crate) fn at<T>(ctx: &TcContext, offset: usize) -> Option<*mut T> {
    let start = ctx.data() + offset;
    if start + size_of::<T>() > ctx.data_end() {
        return None;
    }
    Some(start as *mut T)
}

/// Makes the headers part of the linear bytes, where a device left them outside.
#[inline(always)]
pub(crate) fn gather_headers(ctx: &TcContext) {
    if ctx.data() + ETHERNET_BYTES + 20 + 20 > ctx.data_end() {
        // A packet shorter than that is read as far as it goes.
        let _result = ctx.pull_data(HEADERS_BYTES.min(ctx.len()));
    }
}
