//! Why a backend does not serve a client: words of the configuration and of counts.

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

    /// Its place in `ALL`.
    pub const fn index(self) -> usize {
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
