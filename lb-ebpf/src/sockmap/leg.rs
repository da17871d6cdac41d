//! Fields of the kernel's own sockets. The verifier checks each access against the kernel's types.

use core::ffi::c_void;

use aya_ebpf::helpers::{bpf_map_lookup_elem, bpf_sk_release, bpf_skc_to_tcp_sock};
use aya_ebpf::programs::SkBuffContext;

use super::maps::{Field, SOCKETS};

/// What a leaving socket tells of its send queue.
pub(crate) struct Leaving {
    /// The number of the next byte that is written to it.
    pub(crate) write_seq: u32,
    /// The memory that its send queue takes, in bytes.
    pub(crate) queued: u32,
}

/// The number of the first byte that the daemon has not read.
#[inline(always)]
pub(crate) fn first_unread(ctx: &SkBuffContext) -> Option<u32> {
    // SAFETY: the context is valid while the program runs.
    let socket = unsafe { (*ctx.skb.skb).__bindgen_anon_2.sk };
    if socket.is_null() {
        return None;
    }
    // SAFETY: the helper takes a socket and gives one or null.
    let tcp: *const c_void = unsafe { bpf_skc_to_tcp_sock(socket.cast()) }.cast();
    if tcp.is_null() {
        return None;
    }
    Some(read(tcp, Field::CopiedSeq))
}

/// The socket with this cookie, while it is open.
#[inline(always)]
pub(crate) fn leaving(mut cookie: u64) -> Option<Leaving> {
    // SAFETY: a lookup in a map of sockets gives null, or a socket that has to be released.
    let socket = unsafe {
        bpf_map_lookup_elem(
            (&raw const SOCKETS).cast_mut().cast(),
            (&raw mut cookie).cast(),
        )
    };
    if socket.is_null() {
        return None;
    }
    // SAFETY: the helper takes a socket and gives one or null.
    let tcp: *const c_void = unsafe { bpf_skc_to_tcp_sock(socket) }.cast();
    let found = if tcp.is_null() {
        None
    } else {
        Some(Leaving {
            write_seq: read(tcp, Field::WriteSeq),
            queued: read(tcp, Field::WmemQueued),
        })
    };
    // SAFETY: it was taken above and is not used any more.
    unsafe { bpf_sk_release(socket) };
    found
}

#[inline(always)]
fn read(tcp: *const c_void, field: Field) -> u32 {
    // SAFETY: the verifier lets nothing through but a field of the socket.
    unsafe { core::ptr::read_volatile(tcp.byte_add(field.offset()).cast()) }
}
