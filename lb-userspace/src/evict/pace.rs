//! When the next connection may end: so many a second, and never in step.
//!
//! Clients whose connections end come back at once. What they meet is spread as their ends are.

use std::num::NonZeroU32;
use std::time::Duration;

/// The most that is made up for at once where whoever asks was kept from asking.
const LATE: Duration = Duration::from_millis(500);

/// Gives out the moments; time is of any one clock that does not go back.
#[derive(Debug)]
pub struct Pace {
    next: Option<Duration>,
    random: u64,
}

impl Pace {
    /// Two paces with another seed are not in step.
    pub fn new(seed: u64) -> Self {
        Self {
            next: None,
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
        }
    }

    /// Whether one more may end at `now`, where `gap` is the mean time between two; it is then taken.
    pub fn take(&mut self, now: Duration, gap: Duration) -> bool {
        let due = self.next.unwrap_or(now).max(now.saturating_sub(LATE));
        if due > now {
            return false;
        }
        // From half of it to one and a half times as long.
        self.next = Some(due + gap.mul_f64(0.5 + self.fraction()));
        true
    }

    /// When `take` is worth a try again.
    pub fn next(&self) -> Option<Duration> {
        self.next
    }

    /// At least 0 and less than 1 (xorshift64).
    fn fraction(&mut self) -> f64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let high = u32::try_from(self.random >> 32).unwrap_or(u32::MAX);
        f64::from(high) / (f64::from(u32::MAX) + 1.0)
    }
}

/// The mean time between two ends at `pace` a second; shorter where `remaining` of them would not be
/// over in the time that is `left`.
pub fn gap(pace: NonZeroU32, remaining: u64, left: Option<Duration>) -> Duration {
    let usual = Duration::from_secs(1) / pace.get();
    let Some(left) = left else {
        return usual;
    };
    let remaining = u32::try_from(remaining.max(1)).unwrap_or(u32::MAX);
    usual.min(left / remaining)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::time::Duration;

    use super::{LATE, Pace, gap};

    fn millis(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    fn taken(pace: &mut Pace, at: Duration, every: Duration) -> usize {
        std::iter::repeat_with(|| pace.take(at, every))
            .take_while(|taken| *taken)
            .count()
    }

    #[test]
    fn keeps_the_pace_over_ten_seconds() {
        for seed in 0..20 {
            let mut pace = Pace::new(seed);

            let count: usize = (0..1_000)
                .map(|n| taken(&mut pace, millis(5_000 + n * 10), millis(5)))
                .sum();

            assert!((1_950..=2_050).contains(&count), "{count}");
        }
    }

    #[test]
    fn no_two_gaps_are_alike_and_none_is_out_of_bounds() {
        let mut pace = Pace::new(7);
        let mut at = millis(1_000);
        let mut gaps: Vec<Duration> = (0..100)
            .map(|_| {
                assert!(pace.take(at, millis(100)));
                let gap = pace.next().unwrap() - at;
                at += gap;
                gap
            })
            .collect();
        gaps.sort();
        gaps.dedup();

        assert_eq!(gaps.len(), 100);
        assert!(gaps[0] >= millis(50) && gaps[99] < millis(150));
    }

    #[test]
    fn makes_up_for_a_moment_but_not_for_more() {
        let mut pace = Pace::new(1);
        assert_eq!(taken(&mut pace, millis(1_000), millis(10)), 1);

        let after_long = taken(&mut pace, millis(60_000), millis(10));

        assert!((30..=80).contains(&after_long), "{after_long} in {LATE:?}");
    }

    #[test]
    fn a_deadline_only_hurries() {
        let pace = NonZeroU32::new(10).unwrap();

        assert_eq!(gap(pace, 1_000, None), millis(100));
        assert_eq!(gap(pace, 1_000, Some(millis(500_000))), millis(100));
        assert_eq!(gap(pace, 1_000, Some(millis(10_000))), millis(10));
        assert_eq!(gap(pace, 1_000, Some(Duration::ZERO)), Duration::ZERO);
        assert_eq!(gap(pace, 0, Some(millis(10))), millis(10));
    }
}
