//! The kernel half: one program for every packet that arrives, and its verdict.
//!
//! Off the BPF target nothing of it can run, and `main` is empty.

#![cfg_attr(target_arch = "bpf", no_std, no_main, feature(core_intrinsics))]
#![cfg_attr(
    target_arch = "bpf",
    expect(internal_features, reason = "see atomic.rs")
)]

#[cfg(target_arch = "bpf")]
mod atomic;
#[cfg(target_arch = "bpf")]
mod listeners;
#[cfg(target_arch = "bpf")]
mod maps;
#[cfg(target_arch = "bpf")]
mod packet;
#[cfg(target_arch = "bpf")]
mod segment;

#[cfg(target_arch = "bpf")]
mod programs {
    use aya_ebpf::bindings::TC_ACT_UNSPEC;
    use aya_ebpf::macros::classifier;
    use aya_ebpf::programs::TcContext;

    use crate::{listeners, segment};

    /// Looks at what arrives on an interface and lets it pass.
    #[classifier]
    fn sluice_ingress(ctx: TcContext) -> i32 {
        if let Some(segment) = segment::read(&ctx) {
            listeners::count_syn(&ctx, &segment);
        }
        TC_ACT_UNSPEC
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
