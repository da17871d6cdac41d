//! Writes to what other CPUs write to at the same moment.

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

/// Sets bits of a word of which other CPUs set and clear others; tells what the word was.
///
/// All CPUs agree on the order of these operations. So of two that each set a bit of their own, and
/// then look for that of the other, at least one finds it.
#[inline(always)]
pub(crate) fn set(word: &mut u32, bits: u32) -> u32 {
    use core::intrinsics::{AtomicOrdering, atomic_or};

    // SAFETY: a reference is valid and aligned.
    unsafe { atomic_or::<u32, u32, { AtomicOrdering::SeqCst }>(word, bits) }
}

/// Clears bits of a word of which other CPUs set and clear others.
#[inline(always)]
pub(crate) fn clear(word: &mut u32, bits: u32) {
    use core::intrinsics::{AtomicOrdering, atomic_and};

    // SAFETY: a reference is valid and aligned.
    unsafe { atomic_and::<u32, u32, { AtomicOrdering::SeqCst }>(word, !bits) };
}

/// A word as it is now, whatever it was when it was last read here.
#[inline(always)]
pub(crate) fn read(word: &u32) -> u32 {
    // SAFETY: a reference is valid and aligned.
    unsafe { core::ptr::read_volatile(word) }
}
