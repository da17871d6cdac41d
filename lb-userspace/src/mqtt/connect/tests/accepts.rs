//! What is let through, in every dialect.

use bytes::BytesMut;

use super::{accepted, decode, packet, seeds, sized, taken, with_properties};
use crate::mqtt::Version;
use crate::mqtt::connect::Decoder;

const LIMIT: usize = 1024;

#[test]
fn reads_3_1() {
    let connect = accepted(&packet(b"\0\x06MQIsdp\x03\x02\0\x3c\0\x06sensor"));

    assert_eq!(connect.version(), Version::V3_1);
    assert_eq!(connect.client_id(), "sensor");
    assert_eq!(connect.keep_alive(), 60);
    assert!(connect.clean_start());
    assert!(!connect.bridge());
}

// [MQTT-3.1.2-24]
#[test]
fn reads_3_1_1_with_everything_in_it() {
    let connect = accepted(&packet(
        b"\0\x04MQTT\x04\xf4\x01\x2c\0\x01d\0\x01t\0\x02\xff\0\0\x04user\0\x03\xff\0\xfe",
    ));

    assert_eq!(connect.version(), Version::V3_1_1);
    assert_eq!(connect.client_id(), "d");
    assert_eq!(connect.user_name(), Some("user"));
    assert_eq!(connect.keep_alive(), 300);
    assert_eq!(connect.session_expiry(), None);
    assert!(connect.has_will());
    assert!(connect.has_password());
    assert!(!connect.clean_start());
}

#[test]
fn reads_3_1_1_with_nothing_in_it() {
    let connect = accepted(&packet(b"\0\x04MQTT\x04\x02\0\0\0\0"));

    assert_eq!(connect.client_id(), "");
    assert_eq!(connect.user_name(), None);
    assert_eq!(connect.keep_alive(), 0);
    assert!(!connect.has_will());
    assert!(!connect.has_password());
}

#[test]
fn reads_5_0() {
    let connect = accepted(&with_properties(b"\x11\0\0\x0e\x10\x26\0\x01k\0\x01v"));

    assert_eq!(connect.version(), Version::V5);
    assert_eq!(connect.session_expiry(), Some(3600));
    assert_eq!(connect.client_id(), "");
}

#[test]
fn tells_a_session_expiry_of_zero_from_none() {
    let zero = accepted(&with_properties(b"\x11\0\0\0\0"));
    let none = accepted(&with_properties(b""));

    assert_eq!(zero.session_expiry(), Some(0));
    assert_eq!(none.session_expiry(), None);
}

// [MQTT5-3.1.3-6]
#[test]
fn lets_5_0_leave_out_the_client_id_and_keep_its_session() {
    let connect = accepted(&packet(b"\0\x04MQTT\x05\0\0\0\0\0\0"));

    assert_eq!(connect.client_id(), "");
    assert!(!connect.clean_start());
}

#[test]
fn lets_5_0_send_a_password_without_a_user_name() {
    let connect = accepted(&packet(b"\0\x04MQTT\x05\x40\0\0\0\0\0\0\x02pw"));

    assert_eq!(connect.user_name(), None);
    assert!(connect.has_password());
}

#[test]
fn lets_user_properties_repeat() {
    let twice = with_properties(b"\x26\0\x01k\0\x01v\x26\0\x01k\0\x01v");

    assert_eq!(accepted(&twice).version(), Version::V5);
}

#[test]
fn knows_a_bridge() {
    let old = accepted(&packet(b"\0\x06MQIsdp\x83\x02\0\0\0\x01b"));
    let new = accepted(&packet(b"\0\x04MQTT\x84\x02\0\0\0\x01b"));

    assert_eq!((old.version(), old.bridge()), (Version::V3_1, true));
    assert_eq!((new.version(), new.bridge()), (Version::V3_1_1, true));
}

#[test]
fn lets_3_1_announce_a_user_name_and_leave_it_out() {
    let neither = accepted(&packet(b"\0\x06MQIsdp\x03\xc2\0\0\0\x01c"));
    let no_password = accepted(&packet(b"\0\x06MQIsdp\x03\xc2\0\0\0\x01c\0\x01u"));

    assert_eq!((neither.user_name(), neither.has_password()), (None, false));
    assert_eq!(no_password.user_name(), Some("u"));
    assert!(!no_password.has_password());
}

#[test]
fn disregards_what_3_1_does_not_use() {
    let reserved_qos_retain = accepted(&packet(b"\0\x06MQIsdp\x03\x3b\0\0\0\x01c"));

    assert!(!reserved_qos_retain.has_will());
}

#[test]
fn lets_a_client_id_of_3_1_be_longer_than_23_characters() {
    let id = "x".repeat(24);
    let body = [b"\0\x06MQIsdp\x03\x02\0\0".to_vec(), sized(&id)].concat();

    assert_eq!(accepted(&packet(&body)).client_id(), id);
}

#[test]
fn takes_the_longest_client_id() {
    let id = "\u{20ac}".repeat(65_535 / 3);
    let body = [b"\0\x04MQTT\x04\x02\0\0".to_vec(), sized(&id)].concat();
    let bytes = packet(&body);

    let (connect, _) = taken(&bytes, bytes.len());

    assert_eq!(connect.unwrap().client_id(), id);
}

#[test]
fn takes_every_seed() {
    for seed in seeds() {
        assert_eq!(accepted(&seed).bytes(), &seed);
    }
}

#[test]
fn asks_for_more_after_every_prefix() {
    for seed in seeds() {
        for len in 0..seed.len() {
            assert_eq!(decode(&seed[..len]), Ok(None), "{len} bytes of {seed:02x?}");
        }
    }
}

#[test]
fn does_not_mind_where_the_packet_is_cut() {
    for seed in seeds() {
        let (whole, _) = taken(&seed, LIMIT);
        for cut in 0..=seed.len() {
            let mut decoder = Decoder::new(LIMIT);
            let mut received = BytesMut::from(&seed[..cut]);
            let early = decoder.decode(&mut received).unwrap();
            received.extend_from_slice(&seed[cut..]);
            let late = decoder.decode(&mut received);

            let connect = early.or_else(|| late.unwrap());
            assert_eq!(connect, whole, "cut at {cut} of {seed:02x?}");
        }
    }
}

#[test]
fn leaves_what_is_pipelined_behind() {
    const SUBSCRIBE: &[u8] = b"\x82\x06\0\x01\0\x01a\0";
    for seed in seeds() {
        let (connect, rest) = taken(&[&seed, SUBSCRIBE].concat(), LIMIT);

        assert_eq!(connect.unwrap().bytes(), &seed);
        assert_eq!(rest, SUBSCRIBE);
    }
}

#[test]
fn takes_a_packet_of_exactly_the_limit() {
    let bytes = packet(b"\0\x04MQTT\x04\x02\0\0\0\x01a");

    let (connect, _) = taken(&bytes, bytes.len());

    assert_eq!(connect.unwrap().client_id(), "a");
}

#[test]
fn shows_neither_password_nor_will() {
    let bytes =
        packet(b"\0\x04MQTT\x04\xc6\0\0\0\x01a\0\x05topic\0\x07payload\0\x04user\0\x06secret");

    let shown = format!("{:?}", accepted(&bytes));

    assert!(shown.contains("user"));
    assert!(!shown.contains("secret"));
    assert!(!shown.contains("payload"));
}
