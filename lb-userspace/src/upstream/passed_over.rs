//! Why backends were passed over for a client, counted.

use crate::counters::Counter;
use crate::mqtt::not_me::NotMe;

/// What kept one backend from serving one client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Why {
    /// No TCP connection: refused, no answer, no way.
    Unreachable,
    /// No TCP connection for want of something of this host: descriptors, memory, ports.
    Local,
    /// Closed or reset before its CONNACK.
    Lost,
    /// No CONNACK in time.
    Silent,
    /// Something else than a CONNACK.
    Garbled,
    NotMe(NotMe),
}

impl Why {
    pub const ALL: [Self; 11] = [
        Self::Unreachable,
        Self::Local,
        Self::Lost,
        Self::Silent,
        Self::Garbled,
        Self::NotMe(NotMe::Unavailable),
        Self::NotMe(NotMe::Busy),
        Self::NotMe(NotMe::QuotaExceeded),
        Self::NotMe(NotMe::UseAnother),
        Self::NotMe(NotMe::Moved),
        Self::NotMe(NotMe::RateExceeded),
    ];

    pub const fn label(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Local => "local",
            Self::Lost => "lost",
            Self::Silent => "silent",
            Self::Garbled => "garbled",
            Self::NotMe(not_me) => not_me.label(),
        }
    }

    const fn index(self) -> usize {
        match self {
            Self::Unreachable => 0,
            Self::Local => 1,
            Self::Lost => 2,
            Self::Silent => 3,
            Self::Garbled => 4,
            Self::NotMe(not_me) => 5 + not_me as usize,
        }
    }
}

/// How often a backend was passed over, by reason.
#[derive(Debug, Default)]
pub struct PassedOver([Counter; Why::ALL.len()]);

impl PassedOver {
    pub fn count(&self, why: Why) {
        self.0[why.index()].add(1);
    }

    pub fn total(&self) -> u64 {
        self.0.iter().map(Counter::value).sum()
    }

    pub fn each(&self) -> impl Iterator<Item = (Why, u64)> {
        Why::ALL
            .into_iter()
            .map(|why| (why, self.0[why.index()].value()))
    }
}

#[cfg(test)]
mod tests {
    use super::{PassedOver, Why};

    #[test]
    fn counts_every_reason_by_itself() {
        let passed_over = PassedOver::default();
        for why in Why::ALL {
            passed_over.count(why);
        }

        assert!(passed_over.each().all(|(_, count)| count == 1));
        assert_eq!(passed_over.total(), Why::ALL.len() as u64);
    }
}
