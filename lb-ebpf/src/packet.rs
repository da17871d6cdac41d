//! Checked access to the bytes of a packet; the only pointer arithmetic of the kernel half.

use aya_ebpf::programs::TcContext;

/// The `T` at `offset`, or nothing where the linear part of the packet ends before it does.
#[inline(always)]
pub(crate) fn at<T: Copy>(ctx: &TcContext, offset: usize) -> Option<T> {
    let start = ctx.data() + offset;
    if start + size_of::<T>() > ctx.data_end() {
        return None;
    }
    // SAFETY: by the check above all of `T` lies between `data` and `data_end`; the read does not
    // ask for alignment, and `T` is one of the header types, for which any bytes are valid.
    Some(unsafe { (start as *const T).read_unaligned() })
}
