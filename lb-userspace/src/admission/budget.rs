//! What the limit of open files allows, shared out.

use crate::config::Limits;

use super::pending::Room;

/// For the maps, sockets of other kinds, and connections that are just being closed.
const OTHERS: u64 = 256;
/// The most connections without a CONNECT, unless more are asked for.
const PENDING: u64 = 8192;

/// Descriptors of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// The limit of open files.
    pub descriptors: u64,
    /// Sockets that listen.
    pub listening: u64,
}

/// How many connections of each kind there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shares {
    /// Without a whole CONNECT: one descriptor each.
    pub pending: Room,
    /// With a CONNECT, while the daemon has their sockets: two descriptors each.
    pub in_daemon: u64,
}

/// Refused clients that are given time to read why: one descriptor each.
pub const fn goodbyes(descriptors: u64) -> u64 {
    let share = descriptors / 32;
    if share < 8 {
        8
    } else if share > 1024 {
        1024
    } else {
        share
    }
}

impl Budget {
    pub fn shares(self, limits: &Limits) -> Shares {
        let derived = (self.descriptors / 8).clamp(16, PENDING);
        let all = limits
            .pending_connects
            .map_or(derived, |most| most.get().into());
        let own = limits.pending_connects_per_source;
        let own = own.map_or_else(|| all.div_ceil(2), |most| most.get().into());
        let others = OTHERS.min(self.descriptors / 4) + self.listening;
        let taken = others + all + goodbyes(self.descriptors);
        let in_daemon = self.descriptors.saturating_sub(taken) / 2;
        let count = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
        Shares {
            pending: Room {
                all: count(all),
                each_source: count(own.min(all)),
            },
            in_daemon: in_daemon.max(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::{Budget, goodbyes};
    use crate::config::{Limits, check};

    fn limits() -> Limits {
        let minimal = include_str!("../../../conf/minimal.toml");
        check::check(minimal).unwrap().limits
    }

    #[test]
    fn shares_out_no_more_than_there_is() {
        for descriptors in [256, 1024, 4096, 20_000, 1 << 20] {
            let budget = Budget {
                descriptors,
                listening: 8,
            };

            let shares = budget.shares(&limits());

            let pending = shares.pending.all as u64;
            let sum = pending + 2 * shares.in_daemon + goodbyes(descriptors) + 8;
            assert!(sum <= descriptors, "{descriptors}: {shares:?}");
            assert!(shares.in_daemon >= descriptors / 8, "{shares:?}");
            assert!(pending >= 16 && shares.pending.each_source * 2 >= shares.pending.all);
        }
    }

    #[test]
    fn what_is_asked_for_comes_first() {
        let budget = Budget {
            descriptors: 10_000,
            listening: 0,
        };
        let mut limits = limits();
        limits.pending_connects = NonZeroU32::new(5_000);
        limits.pending_connects_per_source = NonZeroU32::new(10);

        let shares = budget.shares(&limits);

        assert_eq!(
            (shares.pending.all, shares.pending.each_source),
            (5_000, 10)
        );
        assert!(shares.in_daemon < 2_500);
    }
}
