//! Agreement with another implementation, with every known difference spelled out.

use mqtt_proto::{Protocol, v3, v5};
use proptest::prelude::*;

use super::draft::any_draft;
use super::random::spoilt;
use super::{decode, seeds};
use crate::mqtt::connect::Connect;
use crate::mqtt::{Malformed, Version, What};

/// What a CONNECT says, as far as both can tell.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    version: Version,
    clean_start: bool,
    keep_alive: u16,
    session_expiry: Option<u32>,
    client_id: String,
    user_name: Option<String>,
    has_password: bool,
    has_will: bool,
}

impl From<&Connect> for Said {
    fn from(connect: &Connect) -> Self {
        Self {
            version: connect.version(),
            clean_start: connect.clean_start(),
            keep_alive: connect.keep_alive(),
            session_expiry: connect.session_expiry(),
            client_id: connect.client_id().to_owned(),
            user_name: connect.user_name().map(str::to_owned),
            has_password: connect.has_password(),
            has_will: connect.has_will(),
        }
    }
}

impl From<v3::Connect> for Said {
    fn from(connect: v3::Connect) -> Self {
        Self {
            version: match connect.protocol {
                Protocol::V310 => Version::V3_1,
                Protocol::V311 => Version::V3_1_1,
                Protocol::V500 => Version::V5,
            },
            clean_start: connect.clean_session,
            keep_alive: connect.keep_alive,
            session_expiry: None,
            client_id: connect.client_id.to_string(),
            user_name: connect.username.map(|name| name.to_string()),
            has_password: connect.password.is_some(),
            has_will: connect.last_will.is_some(),
        }
    }
}

impl From<v5::Connect> for Said {
    fn from(connect: v5::Connect) -> Self {
        Self {
            version: Version::V5,
            clean_start: connect.clean_start,
            keep_alive: connect.keep_alive,
            session_expiry: connect.properties.session_expiry_interval,
            client_id: connect.client_id.to_string(),
            user_name: connect.username.map(|name| name.to_string()),
            has_password: connect.password.is_some(),
            has_will: connect.last_will.is_some(),
        }
    }
}

/// What the oracle reads in one whole packet; `None` where it refuses.
///
/// It is given no byte behind the packet, so its "more is needed" is a refusal too.
fn oracle(packet: &[u8]) -> Option<Said> {
    if let Ok(Some(v3::Packet::Connect(connect))) = v3::Packet::decode(packet) {
        return Some(connect.into());
    }
    match v5::Packet::decode(packet) {
        Ok(Some(v5::Packet::Connect(connect))) => Some(connect.into()),
        _ => None,
    }
}

/// The whole packet at the front of `bytes`, by the oracle's own arithmetic.
fn frame(bytes: &[u8]) -> Option<&[u8]> {
    let header = v3::Header::decode(bytes).ok()?;
    let len = mqtt_proto::total_len(usize::try_from(header.remaining_len).ok()?).ok()?;
    bytes.get(..len)
}

/// Packets that we let through and the oracle does not.
fn is_ours_alone(connect: &Connect) -> bool {
    let bytes = connect.bytes();
    // Brokers that speak as bridges.
    if connect.bridge() {
        return true;
    }
    match connect.version() {
        // The reserved bit, QoS without a will, logins that are announced and left out.
        Version::V3_1 => {
            let name = bytes.windows(6).position(|name| name == b"MQIsdp").unwrap();
            let flags = bytes[name + 7];
            let is_announced = |flag: u8| flags & flag != 0;
            is_announced(0x01)
                || is_announced(0x18) && !connect.has_will()
                || is_announced(0x80) && connect.user_name().is_none()
                || is_announced(0x40) && !connect.has_password()
        }
        Version::V3_1_1 => false,
        // A server may check the will payload against its format indicator; we do not.
        Version::V5 => v5::Packet::decode(bytes) == Err(v5::ErrorV5::InvalidPayloadFormat),
    }
}

/// Rules that the oracle does not check.
const fn is_strictness_of_ours(what: What) -> bool {
    matches!(
        what,
        What::AuthenticationData
            | What::Character(_)
            | What::ClientIdRejected(_)
            | What::LeftOver(_)
            | What::Length(_)
            | What::PasswordAlone
            | What::PropertyValue(_)
            | What::WillFlags
    )
}

fn compare(bytes: &[u8], ours: &Result<Option<Connect>, Malformed>) {
    match ours {
        Ok(Some(connect)) if is_ours_alone(connect) => assert_eq!(oracle(connect.bytes()), None),
        Ok(Some(connect)) => assert_eq!(oracle(connect.bytes()), Some(connect.into())),
        Ok(None) => assert_eq!(frame(bytes), None),
        Err(wrong) if is_strictness_of_ours(wrong.what) => {}
        Err(_) => assert_eq!(frame(bytes).and_then(oracle), None),
    }
}

#[test]
fn agrees_on_every_seed() {
    for seed in seeds() {
        compare(&seed, &decode(&seed));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2_000) })]

    #[test]
    fn agrees_on_well_formed_packets(draft in any_draft()) {
        let bytes = draft.bytes();

        compare(&bytes, &decode(&bytes));
    }

    #[test]
    fn agrees_on_spoilt_packets(bytes in spoilt()) {
        compare(&bytes, &decode(&bytes));
    }
}
