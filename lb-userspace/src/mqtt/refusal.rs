//! The CONNACK that turns a client away, in the client's dialect.

use bytes::Bytes;

use super::{Malformed, Version, What};

/// Why a client is turned away, in words that MQTT has a code for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    ClientIdRejected,
    ConnectionRateExceeded,
    MalformedPacket,
    PacketTooLarge,
    ProtocolError,
    QuotaExceeded,
    ServerBusy,
    ServerUnavailable,
    UnsupportedVersion {
        level: u8,
    },
    /// A version that we know and do not serve here.
    VersionNotServed,
}

impl Refusal {
    /// The whole CONNACK, or `None` where the connection is just closed: the version is not
    /// known, or has no code for this.
    pub fn connack(self, version: Option<Version>) -> Option<Bytes> {
        match self.dialect(version)? {
            Version::V3_1 | Version::V3_1_1 => {
                // [MQTT-3.2.2-4]: no session is present. [MQTT-3.2.2-6]: no code, no CONNACK.
                let code = self.return_code()?;
                Some(Bytes::copy_from_slice(&[0x20, 2, 0, code]))
            }
            Version::V5 => {
                let code = self.reason_code();
                Some(Bytes::copy_from_slice(&[0x20, 3, 0, code, 0]))
            }
        }
    }

    /// The dialect to refuse in: a client of the future is told in the newest we know, one
    /// of the past or with a wrong protocol name in that of [MQTT-3.1.2-2].
    const fn dialect(self, version: Option<Version>) -> Option<Version> {
        match self {
            Self::UnsupportedVersion { level } if level > Version::V5.level() => Some(Version::V5),
            Self::UnsupportedVersion { .. } => Some(Version::V3_1_1),
            Self::ClientIdRejected
            | Self::ConnectionRateExceeded
            | Self::MalformedPacket
            | Self::PacketTooLarge
            | Self::ProtocolError
            | Self::QuotaExceeded
            | Self::ServerBusy
            | Self::ServerUnavailable
            | Self::VersionNotServed => version,
        }
    }

    /// MQTT 3.1.1, table 3.1.
    const fn return_code(self) -> Option<u8> {
        match self {
            Self::UnsupportedVersion { .. } | Self::VersionNotServed => Some(1),
            Self::ClientIdRejected => Some(2),
            Self::ConnectionRateExceeded
            | Self::QuotaExceeded
            | Self::ServerBusy
            | Self::ServerUnavailable => Some(3),
            // [MQTT-3.1.4-1]
            Self::MalformedPacket | Self::PacketTooLarge | Self::ProtocolError => None,
        }
    }

    /// MQTT 5.0, table 3-1.
    const fn reason_code(self) -> u8 {
        match self {
            Self::MalformedPacket => 0x81,
            Self::ProtocolError => 0x82,
            Self::UnsupportedVersion { .. } | Self::VersionNotServed => 0x84,
            Self::ClientIdRejected => 0x85,
            Self::ServerUnavailable => 0x88,
            Self::ServerBusy => 0x89,
            Self::PacketTooLarge => 0x95,
            Self::QuotaExceeded => 0x97,
            Self::ConnectionRateExceeded => 0x9f,
        }
    }
}

impl From<Malformed> for Refusal {
    fn from(malformed: Malformed) -> Self {
        match malformed.what {
            What::AuthenticationData | What::DuplicateProperty(_) | What::PropertyValue(_) => {
                Self::ProtocolError
            }
            What::ClientIdRejected(_) => Self::ClientIdRejected,
            What::PacketTooLarge { .. } => Self::PacketTooLarge,
            What::UnsupportedVersion { level } => Self::UnsupportedVersion { level },
            What::Character(_)
            | What::DoesNotFit(_)
            | What::LeftOver(_)
            | What::Length(_)
            | What::NotConnack
            | What::NotConnect
            | What::PasswordAlone
            | What::ProtocolName
            | What::ReservedFlag
            | What::UnknownProperty(_)
            | What::Utf8(_)
            | What::WillFlags
            | What::WillQos => Self::MalformedPacket,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Refusal;
    use crate::mqtt::{Malformed, Version, What};

    fn told(refusal: Refusal, version: Version) -> Option<Vec<u8>> {
        refusal.connack(Some(version)).map(Vec::from)
    }

    // [MQTT-3.1.3-8]
    #[test]
    fn tells_a_rejected_client_id() {
        let refusal = Refusal::ClientIdRejected;

        assert_eq!(told(refusal, Version::V3_1), Some(vec![0x20, 2, 0, 2]));
        assert_eq!(told(refusal, Version::V3_1_1), Some(vec![0x20, 2, 0, 2]));
        assert_eq!(told(refusal, Version::V5), Some(vec![0x20, 3, 0, 0x85, 0]));
    }

    #[test]
    fn tells_that_nobody_can_serve_now() {
        for (refusal, code) in [
            (Refusal::ConnectionRateExceeded, 0x9f),
            (Refusal::QuotaExceeded, 0x97),
            (Refusal::ServerBusy, 0x89),
            (Refusal::ServerUnavailable, 0x88),
        ] {
            assert_eq!(told(refusal, Version::V3_1_1), Some(vec![0x20, 2, 0, 3]));
            assert_eq!(told(refusal, Version::V5), Some(vec![0x20, 3, 0, code, 0]));
        }
    }

    // [MQTT-3.1.2-2]
    #[test]
    fn tells_an_unknown_level_in_the_nearest_dialect() {
        let told = |level| {
            Refusal::UnsupportedVersion { level }
                .connack(None)
                .map(Vec::from)
        };

        for level in [0, 2, 3, 5] {
            assert_eq!(told(level), Some(vec![0x20, 2, 0, 1]));
        }
        for level in [6, 0x85, 0xff] {
            assert_eq!(told(level), Some(vec![0x20, 3, 0, 0x84, 0]));
        }
    }

    // [MQTT-3.1.2-2], [MQTT5-3.1.2-2]
    #[test]
    fn tells_a_version_that_is_not_served_in_its_own_words() {
        let refusal = Refusal::VersionNotServed;

        assert_eq!(told(refusal, Version::V3_1), Some(vec![0x20, 2, 0, 1]));
        assert_eq!(told(refusal, Version::V3_1_1), Some(vec![0x20, 2, 0, 1]));
        assert_eq!(told(refusal, Version::V5), Some(vec![0x20, 3, 0, 0x84, 0]));
    }

    // [MQTT-3.1.4-1]
    #[test]
    fn closes_without_a_word_where_there_is_no_code() {
        for (refusal, code) in [
            (Refusal::MalformedPacket, 0x81),
            (Refusal::ProtocolError, 0x82),
            (Refusal::PacketTooLarge, 0x95),
        ] {
            assert_eq!(told(refusal, Version::V3_1), None);
            assert_eq!(told(refusal, Version::V3_1_1), None);
            assert_eq!(told(refusal, Version::V5), Some(vec![0x20, 3, 0, code, 0]));
        }
    }

    #[test]
    fn closes_without_a_word_before_the_version_is_known() {
        assert_eq!(Refusal::MalformedPacket.connack(None), None);
        assert_eq!(Refusal::ServerUnavailable.connack(None), None);
    }

    #[test]
    fn finds_the_word_for_what_is_malformed() {
        let refusal = |what| {
            Refusal::from(Malformed {
                at: 0,
                byte: 0,
                what,
                version: Some(Version::V5),
            })
        };
        let (size, limit) = (2, 1);

        assert_eq!(refusal(What::WillQos), Refusal::MalformedPacket);
        assert_eq!(refusal(What::DuplicateProperty(17)), Refusal::ProtocolError);
        assert_eq!(
            refusal(What::PacketTooLarge { size, limit }),
            Refusal::PacketTooLarge
        );
        assert_eq!(
            refusal(What::ClientIdRejected(Version::V3_1)),
            Refusal::ClientIdRejected
        );
    }
}
