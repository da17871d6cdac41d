//! Answers that mean "not me": another broker may still take the client.

use super::Version;
use super::connack::Connack;

/// What a broker says that does not take a client now, and has nothing against the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NotMe {
    Unavailable,
    Busy,
    QuotaExceeded,
    UseAnother,
    Moved,
    RateExceeded,
}

impl NotMe {
    pub const ALL: [Self; 6] = [
        Self::Unavailable,
        Self::Busy,
        Self::QuotaExceeded,
        Self::UseAnother,
        Self::Moved,
        Self::RateExceeded,
    ];

    /// What a CONNACK means by its code; nothing where the client is accepted or is the problem.
    pub fn of(version: Version, connack: &Connack) -> Option<Self> {
        match (version, connack.code) {
            // MQTT 3.1.1, table 3.1.
            (Version::V3_1 | Version::V3_1_1, 3) => Some(Self::Unavailable),
            // MQTT 5.0, table 3-1.
            (Version::V5, 0x88) => Some(Self::Unavailable),
            (Version::V5, 0x89) => Some(Self::Busy),
            (Version::V5, 0x97) => Some(Self::QuotaExceeded),
            (Version::V5, 0x9c) => Some(Self::UseAnother),
            (Version::V5, 0x9d) => Some(Self::Moved),
            (Version::V5, 0x9f) => Some(Self::RateExceeded),
            _ => None,
        }
    }

    /// As configuration, logs and counts write it.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Unavailable => "unavailable",
            Self::Busy => "busy",
            Self::QuotaExceeded => "quota_exceeded",
            Self::UseAnother => "use_another",
            Self::Moved => "moved",
            Self::RateExceeded => "rate_exceeded",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::NotMe;
    use crate::mqtt::Version;
    use crate::mqtt::connack::Connack;

    fn meant(version: Version) -> Vec<(u8, NotMe)> {
        let of = |code| {
            let connack = Connack {
                code,
                ..Connack::default()
            };
            Some((code, NotMe::of(version, &connack)?))
        };
        (0..=u8::MAX).filter_map(of).collect()
    }

    #[test]
    fn means_server_unavailable_before_5_0() {
        for version in [Version::V3_1, Version::V3_1_1] {
            assert_eq!(meant(version), [(3, NotMe::Unavailable)]);
        }
    }

    #[test]
    fn means_what_another_server_may_grant_in_5_0() {
        let expected = [0x88, 0x89, 0x97, 0x9c, 0x9d, 0x9f];
        let expected: Vec<_> = expected.into_iter().zip(NotMe::ALL).collect();

        assert_eq!(meant(Version::V5), expected);
    }
}
