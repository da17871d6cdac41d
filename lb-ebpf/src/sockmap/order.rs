//! Each byte once: a segment may begin with bytes that have arrived before.
//!
//! Where an acknowledgment is lost, the sender may send those bytes again together with new ones. TCP
//! queues such a segment whole, and a read from the socket begins in its middle; a verdict sees it
//! from its beginning.

use aya_ebpf::programs::SkBuffContext;
use lb_common::stream::{MOVED_STARTED, Moved};

use super::leg;

/// The most that one call of the helper takes off.
const STEP: u32 = 4095;
/// Calls that take off what a segment of IP can hold.
const STEPS: u32 = 17;

/// Takes off what is old; nothing where that cannot be done or something is missing.
#[inline(always)]
pub(crate) fn skip_old(ctx: &SkBuffContext, moved: &mut Moved) -> Option<()> {
    if moved.state & MOVED_STARTED == 0 {
        moved.next = leg::first_unread(ctx)?;
        moved.state |= MOVED_STARTED;
    }
    // The control block is that of TCP still, and begins with SEG.SEQ; the loader has checked that.
    let mut old = moved.next.wrapping_sub(ctx.cb()[0]);
    if old == 0 {
        return Some(());
    }
    if old >= ctx.len() {
        return None;
    }
    for _ in 0..STEPS {
        let step = if old > STEP { STEP } else { old };
        ctx.adjust_room(-step.cast_signed(), 0, 0).ok()?;
        old -= step;
        if old == 0 {
            return Some(());
        }
    }
    None
}
