//! The one atomic operation the kernel half needs.

/// Adds to a counter that other CPUs add to as well.
///
/// `AtomicU64::fetch_add` is not there on the BPF target, which had no compare-and-swap when its
/// description was written; the instruction behind it is.
///
/// # Safety
///
/// `counter` must be valid for writes and aligned, and written by others atomically only.
#[inline(always)]
pub(crate) unsafe fn add(counter: *mut u64, value: u64) {
    use core::intrinsics::{AtomicOrdering, atomic_xadd};

    // SAFETY: the caller's promise is what the intrinsic asks for.
    unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(counter, value) };
}
