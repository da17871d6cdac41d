//! Who goes first: those who will hardly notice.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::time::Duration;

/// The place of a connection in the row; the greatest goes first.
///
/// Long silence first, by its order of magnitude. Among those of about the same, clients without a
/// session at the broker come before those who leave one behind. Last, the exact silence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    magnitude: u32,
    kept: Reverse<Kept>,
    silence: Duration,
}

/// What the broker keeps of a client that has gone, as its CONNECT asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kept {
    /// It asked for Clean Session, or Clean Start.
    Nothing,
    Session,
}

impl Rank {
    pub fn new(silence: Duration, kept: Kept) -> Self {
        Self {
            // 0 below a second, then one more whenever it doubles.
            magnitude: u64::BITS - silence.as_secs().leading_zeros(),
            kept: Reverse(kept),
            silence,
        }
    }
}

/// The first of all that are offered, as many as there is room for.
#[derive(Debug)]
pub struct First<T> {
    room: usize,
    kept: BinaryHeap<Reverse<Ranked<T>>>,
}

#[derive(Debug)]
struct Ranked<T>(Rank, T);

impl<T> First<T> {
    pub fn new(room: usize) -> Self {
        Self {
            room,
            kept: BinaryHeap::new(),
        }
    }

    pub fn offer(&mut self, rank: Rank, item: T) {
        if self.kept.len() < self.room {
            self.kept.push(Reverse(Ranked(rank, item)));
        } else if let Some(mut last) = self.kept.peek_mut()
            && last.0.0 < rank
        {
            *last = Reverse(Ranked(rank, item));
        }
    }

    /// In the order in which they go.
    pub fn into_row(self) -> impl Iterator<Item = T> {
        let row = self.kept.into_sorted_vec();
        row.into_iter().map(|Reverse(Ranked(_, item))| item)
    }
}

impl<T> PartialEq for Ranked<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<T> Eq for Ranked<T> {}

impl<T> PartialOrd for Ranked<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Ranked<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.cmp(&other.0)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{First, Kept, Rank};

    fn rank(seconds: u64, kept: Kept) -> Rank {
        Rank::new(Duration::from_secs(seconds), kept)
    }

    #[test]
    fn silence_counts_before_the_session_and_the_session_before_seconds() {
        let row = [
            rank(70, Kept::Nothing),
            rank(100, Kept::Session),
            rank(90, Kept::Session),
            rank(3, Kept::Nothing),
            rank(2, Kept::Session),
            rank(0, Kept::Nothing),
        ];

        assert!(row.is_sorted_by(|a, b| a > b), "{row:?}");
    }

    #[test]
    fn keeps_the_first_in_their_row() {
        let mut first = First::new(3);
        for seconds in [5, 900, 1, 70, 300, 2, 40] {
            first.offer(rank(seconds, Kept::Nothing), seconds);
        }

        assert_eq!(first.into_row().collect::<Vec<_>>(), [900, 300, 70]);
    }

    #[test]
    fn has_room_for_none() {
        let mut first = First::new(0);
        first.offer(rank(1, Kept::Session), ());

        assert_eq!(first.into_row().count(), 0);
    }
}
