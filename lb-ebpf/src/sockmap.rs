//! The sockmap path: what happens to bytes that arrive at a socket of the daemon, as a verdict.
//!
//! An object of its own, since a kernel may take the packet programs and not this one. Off the BPF
//! target nothing of it can run.

#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(target_arch = "bpf")]
mod sockmap {
    pub(crate) mod leg;
    pub(crate) mod maps;
    pub(crate) mod order;
    pub(crate) mod room;
}

#[cfg(target_arch = "bpf")]
mod programs {
    use aya_ebpf::bindings::sk_action::{SK_DROP, SK_PASS};
    use aya_ebpf::helpers::bpf_get_socket_cookie;
    use aya_ebpf::macros::stream_verdict;
    use aya_ebpf::programs::SkBuffContext;
    use lb_common::stream::{MOVED_BROKEN, Moved, Stream};

    use crate::sockmap::maps::{CONGESTED, MOVED, SOCKETS, STREAMS};
    use crate::sockmap::{order, room};

    /// Carries what arrives to the other socket while that has room; else it passes.
    ///
    /// The kernel runs it under the lock of the socket: one segment of a stream after the other.
    #[stream_verdict]
    fn sluice_verdict(ctx: SkBuffContext) -> u32 {
        if ctx.len() == 0 {
            // A FIN alone. Carried, it would break the other socket; the daemon hears of it anyway.
            return SK_DROP;
        }
        // SAFETY: the context is valid while the program runs.
        let cookie = unsafe { bpf_get_socket_cookie(ctx.skb.skb.cast()) };
        let (Some(stream), Some(moved)) = (STREAMS.get_ptr(cookie), MOVED.get_ptr_mut(cookie))
        else {
            return SK_PASS;
        };
        // SAFETY: the maps gave the pointers. The daemon replaces a stream as a whole, and nobody but
        // this program, under the lock of the socket, writes what was moved.
        let (stream, moved) = unsafe { (&*stream, &mut *moved) };
        if moved.state & MOVED_BROKEN != 0 {
            return SK_DROP;
        }
        if order::skip_old(&ctx, moved).is_none() {
            moved.state |= MOVED_BROKEN;
            let _told = CONGESTED.output(cookie, 0);
            return SK_DROP;
        }
        verdict(&ctx, cookie, stream, moved)
    }

    #[inline(always)]
    fn verdict(ctx: &SkBuffContext, cookie: u64, stream: &Stream, moved: &mut Moved) -> u32 {
        let bytes = ctx.len();
        moved.next = moved.next.wrapping_add(bytes);
        let is_all_copied = moved.passed == stream.copied;
        if is_all_copied
            && room::is_there(stream, moved, bytes)
            && SOCKETS.redirect_skb(ctx, stream.to, 0) == i64::from(SK_PASS)
        {
            moved.carried += u64::from(bytes);
            moved.segments += 1;
            return SK_PASS;
        }
        if is_all_copied {
            // The daemon sleeps. It is told once, and there is room for that: see `CONGESTED_BYTES`.
            let _told = CONGESTED.output(cookie, 0);
        }
        moved.passed += u64::from(bytes);
        SK_PASS
    }

    /// The verifier proves that no panic can be reached; the language wants a handler all the same.
    #[panic_handler]
    fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
        loop {}
    }

    /// Lets the program call helpers that the kernel keeps for GPL-compatible ones.
    #[unsafe(no_mangle)]
    #[unsafe(link_section = "license")]
    static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
}

#[cfg(not(target_arch = "bpf"))]
fn main() {}
