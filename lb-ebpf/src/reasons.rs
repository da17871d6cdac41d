//! Counts by reason, one set for each CPU.

use lb_common::reason::Reason;

use crate::maps::REASONS;

#[inline(always)]
pub(crate) fn count(reason: Reason) {
    if let Some(count) = REASONS.get_ptr_mut(reason as u32) {
        // SAFETY: the map gave the pointer, and no other CPU uses this slot.
        unsafe { *count += 1 };
    }
}
