//! How much lies in front of a receiver: the bound of what the kernel holds for a stream.

use lb_common::stream::{Moved, SEGMENT_CHARGE, Stream};

use super::leg;

/// Whether a segment may be carried.
///
/// Before it lie the memory of the leaving socket's send queue, and what was carried and is not in
/// that queue yet. Of the latter the bytes are known, since both are numbers of one sequence space.
/// Its segments are counted from above: those since a mark, and those of the time before, until all
/// that was carried before the mark is in the send queue.
#[inline(always)]
pub(crate) fn is_there(stream: &Stream, moved: &mut Moved, bytes: u32) -> bool {
    let Some(leaving) = leg::leaving(stream.to) else {
        return false;
    };
    let carried = moved.carried as u32;
    if moved.based_at != moved.passed || moved.carried == 0 {
        // The daemon has just written what was passed, or nothing has been carried: all is there.
        moved.base = leaving.write_seq.wrapping_sub(carried);
        moved.based_at = moved.passed;
    }
    let waiting = moved
        .base
        .wrapping_add(carried)
        .wrapping_sub(leaving.write_seq);
    if waiting <= carried.wrapping_sub(moved.mark) {
        moved.mark = carried;
        moved.segments_before = moved.segments;
        moved.segments = 0;
    }
    let segments = u64::from(moved.segments) + u64::from(moved.segments_before) + 1;
    let charge = u64::from(leaving.queued)
        + u64::from(waiting)
        + u64::from(bytes)
        + segments * u64::from(SEGMENT_CHARGE);
    charge <= u64::from(stream.limit)
}
