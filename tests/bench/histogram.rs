//! Durations by size, each kept to better than one part in a hundred.

use std::time::Duration;

/// Buckets for each power of two.
const STEPS: u64 = 1 << STEP_BITS;
const STEP_BITS: u32 = 7;

/// Counts of durations.
pub(crate) struct Histogram {
    buckets: Vec<u64>,
    count: u64,
}

impl Histogram {
    pub(crate) fn new() -> Self {
        let buckets = bucket(u64::MAX) + 1;
        Self {
            buckets: vec![0; buckets],
            count: 0,
        }
    }

    pub(crate) fn add(&mut self, duration: Duration) {
        let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.buckets[bucket(nanoseconds)] += 1;
        self.count += 1;
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine += theirs;
        }
        self.count += other.count;
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// The duration that this many of a thousand do not exceed; zero if there are none.
    pub(crate) fn per_mille(&self, share: u64) -> Duration {
        let rank = (self.count * share).div_ceil(1000);
        let mut seen = 0;
        let found = self.buckets.iter().position(|count| {
            seen += count;
            seen >= rank.max(1)
        });
        found.map_or(Duration::ZERO, |bucket| {
            Duration::from_nanos(middle(bucket))
        })
    }
}

/// Small values have buckets of their own; of larger ones the first `STEP_BITS + 1` bits decide.
fn bucket(value: u64) -> usize {
    let length = u64::BITS - value.leading_zeros();
    let shift = length.saturating_sub(STEP_BITS + 1);
    let index = u64::from(shift) * STEPS + (value >> shift);
    usize::try_from(index).unwrap_or(usize::MAX)
}

/// The value in the middle of a bucket.
fn middle(bucket: usize) -> u64 {
    let index = bucket as u64;
    let shift = (index / STEPS).saturating_sub(1);
    let first = (index - shift * STEPS) << shift;
    first + ((1 << shift) >> 1)
}

#[cfg(test)]
mod tests {
    use super::{Histogram, bucket, middle};
    use std::time::Duration;

    #[test]
    fn keeps_values_to_one_part_in_a_hundred() {
        for value in [0, 1, 127, 128, 255, 256, 257, 1_000_003, u64::MAX / 3] {
            let kept = middle(bucket(value));
            assert!(kept.abs_diff(value) <= value / 100, "{value} became {kept}");
        }
    }

    #[test]
    fn buckets_follow_each_other() {
        for value in 1..100_000 {
            let step = bucket(value) - bucket(value - 1);
            assert!(step <= 1, "a gap before {value}");
        }
    }

    #[test]
    fn finds_the_median_and_the_tail() {
        let mut histogram = Histogram::new();
        for microseconds in 1..=1000 {
            histogram.add(Duration::from_micros(microseconds));
        }

        assert_eq!(histogram.per_mille(500).as_micros().abs_diff(500) / 5, 0);
        assert_eq!(histogram.per_mille(999).as_micros().abs_diff(999) / 10, 0);
    }
}
