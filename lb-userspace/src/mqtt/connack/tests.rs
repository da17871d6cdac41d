//! Tests of the first packet of a broker.

use proptest::collection::vec;
use proptest::prelude::*;

use super::{Connack, First, decode, fuzz};
use crate::mqtt::{Version, What};

const LIMIT: usize = 1024;

fn accepted(version: Version, bytes: &[u8]) -> Connack {
    fuzz(bytes);
    match decode(version, bytes, LIMIT).unwrap() {
        Some(First::Connack(connack)) => connack,
        other => panic!("no CONNACK but {other:?}"),
    }
}

fn refused(version: Version, bytes: &[u8]) -> (usize, What) {
    fuzz(bytes);
    let wrong = decode(version, bytes, LIMIT).expect_err("the packet is malformed");
    assert_eq!(wrong.version, Some(version));
    (wrong.at, wrong.what)
}

fn seeds() -> Vec<Vec<u8>> {
    crate::mqtt::seeds(include_str!("seeds.hex"))
}

fn version(seed: &[u8]) -> Version {
    if seed.len() == 4 {
        Version::V3_1_1
    } else {
        Version::V5
    }
}

// [MQTT-3.2.2-2]
#[test]
fn reads_whether_the_session_is_present() {
    let present = accepted(Version::V3_1_1, b"\x20\x02\x01\0");
    let absent = accepted(Version::V3_1_1, b"\x20\x02\0\0");

    assert!(present.session_present && present.is_accepted());
    assert!(!absent.session_present && absent.is_accepted());
}

#[test]
fn takes_return_codes_as_they_are() {
    for code in [1, 5, 0x80, 0xff] {
        let connack = accepted(Version::V3_1_1, &[0x20, 2, 0, code]);

        assert_eq!(connack.code, code);
        assert!(!connack.is_accepted());
    }
}

#[test]
fn disregards_the_first_byte_in_3_1() {
    let connack = accepted(Version::V3_1, b"\x20\x02\xff\0");

    assert!(!connack.session_present);
}

#[test]
fn reads_what_5_0_tells_the_client() {
    let connack = accepted(
        Version::V5,
        b"\x20\x15\0\0\x12\x13\0\x1e\x12\0\x04auto\x1c\0\x05b:188",
    );

    assert_eq!(connack.server_keep_alive, Some(30));
    assert_eq!(connack.assigned_client_id.as_deref(), Some("auto"));
    assert_eq!(connack.server_reference.as_deref(), Some("b:188"));
    assert_eq!(connack.len, 23);
}

#[test]
fn takes_the_answer_of_a_broker_that_does_not_know_5_0() {
    let connack = accepted(Version::V5, b"\x20\x02\0\x01");

    assert_eq!(connack.code, 1);
}

#[test]
fn knows_an_auth_of_5_0() {
    assert_eq!(decode(Version::V5, b"\xf0", LIMIT), Ok(Some(First::Auth)));
    assert_eq!(refused(Version::V3_1_1, b"\xf0"), (0, What::NotConnack));
}

// [MQTT-3.2.0-1]
#[test]
fn refuses_what_is_not_a_connack() {
    for first in [b'H', 0x10, 0x21, 0x30, 0xe0] {
        assert_eq!(refused(Version::V5, &[first]), (0, What::NotConnack));
    }
}

// [MQTT-3.2.2-1]
#[test]
fn refuses_reserved_flags() {
    assert_eq!(
        refused(Version::V3_1_1, b"\x20\x02\x02"),
        (2, What::ReservedFlag)
    );
}

#[test]
fn refuses_a_packet_above_the_limit() {
    let (size, limit) = (1025, LIMIT);

    let wrong = refused(Version::V5, b"\x20\xfe\x07");

    assert_eq!(wrong, (2, What::PacketTooLarge { size, limit }));
}

#[test]
fn refuses_a_packet_that_is_too_short_or_too_long() {
    let fits = What::DoesNotFit("connack flags");
    assert_eq!(refused(Version::V3_1_1, b"\x20\0"), (1, fits));
    let fits = What::DoesNotFit("connack code");
    assert_eq!(refused(Version::V3_1_1, b"\x20\x01\0"), (2, fits));
    assert_eq!(
        refused(Version::V3_1_1, b"\x20\x03\0\0\0"),
        (3, What::LeftOver(1))
    );
    assert_eq!(
        refused(Version::V5, b"\x20\x04\0\0\0\0"),
        (4, What::LeftOver(1))
    );
}

#[test]
fn refuses_properties_that_do_not_belong_to_a_connack() {
    let wrong = refused(Version::V5, b"\x20\x05\0\0\x02\x17\0");

    assert_eq!(wrong, (5, What::UnknownProperty(23)));
}

#[test]
fn asks_for_more_after_every_prefix() {
    for seed in seeds() {
        let version = version(&seed);

        assert_eq!(accepted(version, &seed).len, seed.len());
        for len in 0..seed.len() {
            assert_eq!(decode(version, &seed[..len], LIMIT), Ok(None));
        }
    }
}

#[test]
fn leaves_what_follows_alone() {
    for mut seed in seeds() {
        let len = seed.len();
        let version = version(&seed);
        seed.extend(b"\x90\x03\0\x01\0");

        assert_eq!(accepted(version, &seed).len, len);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1_000) })]

    #[test]
    fn never_panics_on_random_bytes(bytes in vec(any::<u8>(), 0..100)) {
        fuzz(&bytes);
    }

    #[test]
    fn blames_the_first_impossible_byte(
        seed in proptest::sample::select(seeds()),
        at in any::<proptest::sample::Index>(),
        byte: u8,
    ) {
        let mut bytes = seed;
        let at = at.index(bytes.len());
        bytes[at] = byte;

        fuzz(&bytes);
    }
}
