//! A token bucket; the time is an argument.

use std::time::Duration;

use crate::config::Rate;

/// A bucket that holds what comes in within this time, and one token at least.
const BURST: Duration = Duration::from_millis(100);

/// Gives out tokens at a rate, with a small burst after a pause (GCRA of ITU-T I.371).
///
/// Times are counted from any moment, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bucket {
    /// Between two tokens.
    interval: u64,
    /// How far ahead of `full_at` a token is there.
    tolerance: u64,
    /// When all tokens are back.
    full_at: u64,
}

impl Bucket {
    /// A full one.
    pub fn new(rate: Rate) -> Self {
        let interval = interval(rate);
        let burst = (nanos(BURST) / interval).max(1);
        Self::with_burst(rate, burst)
    }

    /// A full one that holds so many tokens, one at least.
    pub fn with_burst(rate: Rate, burst: u64) -> Self {
        let interval = interval(rate);
        Self {
            interval,
            tolerance: burst.saturating_sub(1).saturating_mul(interval),
            full_at: 0,
        }
    }

    /// Goes on with what is left of `other`, at the new rate.
    pub fn after(mut self, other: &Self, now: Duration) -> Self {
        let empty = nanos(now) + self.tolerance + self.interval;
        self.full_at = other.full_at.min(empty);
        self
    }

    /// Takes a token.
    ///
    /// # Errors
    ///
    /// There is none; when the next one comes.
    pub fn take(&mut self, now: Duration) -> Result<(), Duration> {
        let now = nanos(now);
        let next = self.full_at.saturating_sub(self.tolerance);
        if next > now {
            return Err(Duration::from_nanos(next));
        }
        self.full_at = self.full_at.max(now).saturating_add(self.interval);
        Ok(())
    }

    /// Puts back a token that was not needed.
    pub fn give_back(&mut self) {
        self.full_at = self.full_at.saturating_sub(self.interval);
    }

    /// How many tokens come in within a time.
    pub fn within(&self, time: Duration) -> u64 {
        nanos(time) / self.interval
    }
}

/// Between two tokens, in nanoseconds; at least one.
fn interval(rate: Rate) -> u64 {
    (nanos(rate.per) / u64::from(rate.count.get())).max(1)
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::Bucket;
    use crate::config::Rate;

    fn a_second(count: u32) -> Rate {
        Rate {
            count: NonZeroU32::new(count).unwrap(),
            per: Duration::from_secs(1),
        }
    }

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn holds_a_tenth_of_a_second() {
        let mut bucket = Bucket::new(a_second(50));
        let taken = (0..10).filter(|_| bucket.take(ms(1000)).is_ok()).count();

        assert_eq!(taken, 5);
        assert_eq!(bucket.take(ms(1000)), Err(ms(1020)));
        assert_eq!(bucket.take(ms(1020)), Ok(()));
        assert!(bucket.take(ms(1020)).is_err());
    }

    #[test]
    fn a_slow_one_holds_one_token() {
        let mut bucket = Bucket::new(a_second(2));

        assert_eq!(bucket.take(ms(0)), Ok(()));
        assert_eq!(bucket.take(ms(1)), Err(ms(500)));
    }

    #[test]
    fn a_token_that_was_put_back_is_there() {
        let mut bucket = Bucket::new(a_second(1));
        bucket.take(ms(5)).unwrap();
        bucket.give_back();

        assert_eq!(bucket.take(ms(6)), Ok(()));
        assert!(bucket.take(ms(7)).is_err());
    }

    #[test]
    fn a_new_rate_neither_fills_nor_blocks() {
        let mut slow = Bucket::new(a_second(1));
        slow.take(ms(1000)).unwrap();

        let mut fast = Bucket::new(a_second(1000)).after(&slow, ms(1000));

        assert!(fast.take(ms(1000)).is_err());
        assert_eq!(fast.take(ms(1001)), Ok(()));
    }

    /// What people ask for at random moments of a minute.
    fn questions() -> impl Strategy<Value = Vec<u64>> {
        prop::collection::vec(0u64..60_000_000, 0..400).prop_map(|mut times| {
            times.sort_unstable();
            times
        })
    }

    proptest! {
        #[test]
        fn never_gives_more_than_rate_and_burst(
            count in 1u32..100_000,
            questions in questions(),
        ) {
            let mut bucket = Bucket::new(a_second(count));
            let mut taken = Vec::new();
            for micros in questions {
                let now = Duration::from_micros(micros);
                if bucket.take(now).is_ok() {
                    taken.push(micros);
                }
            }
            let burst = f64::from((count / 10).max(1));
            for (first, start) in taken.iter().enumerate() {
                for (last, end) in taken.iter().enumerate().skip(first) {
                    let seconds = (end - start) as f64 / 1e6;
                    let most = burst + seconds * f64::from(count) * 1.0001 + 1e-6;
                    prop_assert!((last - first + 1) as f64 <= most.floor().max(1.0) + 1.0);
                }
            }
        }

        #[test]
        fn whoever_waits_as_told_is_served(count in 1u32..1_000_000, many in 1usize..300) {
            let rate = a_second(count);
            let mut bucket = Bucket::new(rate);
            let mut now = Duration::from_secs(7);
            for _ in 0..many {
                if let Err(next) = bucket.take(now) {
                    prop_assert!(next > now);
                    now = next;
                    prop_assert_eq!(bucket.take(now), Ok(()));
                }
            }
            // Nobody waits longer than the rate says.
            let least = Duration::from_secs(1) * u32::try_from(many).unwrap() / count;
            prop_assert!(now - Duration::from_secs(7) <= least + Duration::from_micros(1));
        }
    }
}
