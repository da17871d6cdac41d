//! Client ids that come too often, and are held off for longer and longer; the time is an argument.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::time::Duration;

use super::Source;
use super::bucket::Bucket;
use crate::config::Rate;

/// The longest hold.
const LONGEST: Duration = Duration::from_secs(600);
/// Ids that are remembered for sure; those seen least recently are forgotten first.
const REMEMBERED: usize = 1 << 15;

/// Who comes how often.
///
/// A hold is not made longer by those who come while it lasts: at its end every client gets through
/// once, and only one that goes on as before is held off again, for twice as long.
#[derive(Debug, Default)]
pub struct Holds {
    /// Nobody outside can choose two ids with the same key.
    hasher: RandomState,
    /// Those seen since `old` was begun; it takes its place when it is full.
    young: HashMap<Key, Guest>,
    old: HashMap<Key, Guest>,
}

/// An id and where it comes from: nobody elsewhere can have a client held off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key(u64);

/// The client is held off until this time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held(pub Duration);

#[derive(Debug, Clone, Copy)]
struct Guest {
    rate: Rate,
    bucket: Bucket,
    held_until: Duration,
    /// Zero for one that behaves.
    hold: Duration,
}

impl Holds {
    pub fn key(&self, id: &str, from: Source) -> Key {
        Key(self.hasher.hash_one((id, from)))
    }

    /// Counts that a client comes.
    ///
    /// # Errors
    ///
    /// It is held off.
    pub fn ask(&mut self, key: Key, rate: Rate, now: Duration) -> Result<(), Held> {
        self.guest(key, rate).ask(now)
    }

    /// Takes back what `ask` has counted.
    pub fn forgive(&mut self, key: Key, rate: Rate) {
        self.guest(key, rate).bucket.give_back();
    }

    fn guest(&mut self, key: Key, rate: Rate) -> &mut Guest {
        if self.young.len() >= REMEMBERED && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
        }
        let old = &mut self.old;
        let guest = self.young.entry(key).or_insert_with(|| {
            let known = old.remove(&key);
            known.unwrap_or_else(|| Guest::new(rate))
        });
        if guest.rate != rate {
            *guest = Guest::new(rate);
        }
        guest
    }
}

impl Guest {
    fn new(rate: Rate) -> Self {
        Self {
            rate,
            bucket: Bucket::with_burst(rate, rate.count.get().into()),
            held_until: Duration::ZERO,
            hold: Duration::ZERO,
        }
    }

    fn ask(&mut self, now: Duration) -> Result<(), Held> {
        if now < self.held_until {
            return Err(Held(self.held_until));
        }
        if now >= self.held_until + self.hold * 2 {
            self.hold = Duration::ZERO;
        }
        self.bucket.take(now).map_err(|_next| {
            // At least the time of one token, so that there is one at the end.
            let shortest = self.rate.per / self.rate.count.get() + Duration::from_nanos(1);
            let longest = LONGEST.max(shortest);
            self.hold = (self.hold * 2).clamp(shortest, longest);
            self.held_until = now + self.hold;
            Held(self.held_until)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::num::NonZeroU32;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::{Held, Holds, Key, LONGEST, REMEMBERED};
    use crate::admission::Source;
    use crate::config::Rate;

    /// Ten a minute: one in six seconds.
    const RATE: Rate = Rate {
        count: NonZeroU32::new(10).unwrap(),
        per: Duration::from_secs(60),
    };

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn source(last: u8) -> Source {
        std::net::IpAddr::from(Ipv4Addr::new(192, 0, 2, last)).into()
    }

    /// A client that is held off for the first time.
    fn caught() -> (Holds, Key) {
        let mut holds = Holds::default();
        let key = holds.key("loop", source(1));
        for _ in 0..10 {
            assert_eq!(holds.ask(key, RATE, at(0)), Ok(()));
        }
        assert!(holds.ask(key, RATE, at(0)).is_err());
        (holds, key)
    }

    #[test]
    fn holds_off_who_comes_too_often() {
        let (mut holds, key) = caught();

        assert!(holds.ask(key, RATE, at(5)).is_err());
        assert_eq!(holds.ask(key, RATE, at(7)), Ok(()));
    }

    #[test]
    fn coming_again_makes_no_hold_longer() {
        let (mut holds, key) = caught();
        let first = holds.ask(key, RATE, at(1)).unwrap_err();

        for second in 2..6 {
            assert_eq!(holds.ask(key, RATE, at(second)), Err(first));
        }
    }

    #[test]
    fn the_next_hold_is_twice_as_long_unless_there_was_calm() {
        let (mut holds, key) = caught();
        holds.ask(key, RATE, at(7)).unwrap();
        let Held(until) = holds.ask(key, RATE, at(7)).unwrap_err();
        assert!(until >= at(19) && until < at(20), "{until:?}");

        // Calm for twice the hold; the bucket has filled a little.
        let mut calm = at(60);
        while holds.ask(key, RATE, calm).is_ok() {
            calm += Duration::from_millis(1);
        }
        let Held(until) = holds.ask(key, RATE, calm).unwrap_err();
        assert!(until < calm + at(7), "{until:?}");
    }

    #[test]
    fn others_are_not_held_off() {
        let (mut holds, _) = caught();
        let elsewhere = holds.key("loop", source(2));
        let other = holds.key("calm", source(1));

        assert_eq!(holds.ask(elsewhere, RATE, at(0)), Ok(()));
        assert_eq!(holds.ask(other, RATE, at(0)), Ok(()));
    }

    #[test]
    fn what_is_forgiven_does_not_count() {
        let mut holds = Holds::default();
        let key = holds.key("unlucky", source(1));

        for _ in 0..100 {
            assert_eq!(holds.ask(key, RATE, at(0)), Ok(()));
            holds.forgive(key, RATE);
        }
    }

    #[test]
    fn remembers_no_more_than_it_may() {
        let (mut holds, loops) = caught();
        for n in 0..5 * REMEMBERED {
            let key = holds.key(&n.to_string(), source(1));
            holds.ask(key, RATE, at(0)).unwrap();
            // Whoever keeps coming is not forgotten for those who came once.
            assert!(holds.ask(loops, RATE, at(0)).is_err());
        }

        assert!(holds.young.len() + holds.old.len() <= 2 * REMEMBERED);
    }

    proptest! {
        #[test]
        fn every_hold_ends(pauses in prop::collection::vec(0u64..20_000, 1..300)) {
            let mut holds = Holds::default();
            let key = holds.key("any", source(1));
            let mut now = at(0);
            for millis in pauses {
                now += Duration::from_millis(millis);
                if let Err(Held(until)) = holds.ask(key, RATE, now) {
                    prop_assert!(until > now && until <= now + LONGEST);
                    let mut later = Guestbook(&mut holds, key);
                    prop_assert_eq!(later.ask(until), Ok(()));
                    now = until;
                }
            }
        }
    }

    /// Reads better above.
    struct Guestbook<'a>(&'a mut Holds, Key);

    impl Guestbook<'_> {
        fn ask(&mut self, now: Duration) -> Result<(), Held> {
            self.0.ask(self.1, RATE, now)
        }
    }
}
