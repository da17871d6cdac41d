//! What is refused, and which byte is blamed for it.

use bytes::BytesMut;

use super::{decode, packet, refused, sized, with_properties};
use crate::mqtt::connect::Decoder;
use crate::mqtt::{Version, What};

// [MQTT-3.1.0-1]
#[test]
fn refuses_what_is_not_a_connect() {
    for other in [
        b"GET / HTTP/1.1".as_slice(),
        b"\x16\x03\x01",
        b"\xc0\0",
        b"\0",
    ] {
        assert_eq!(refused(other), (0, What::NotConnect));
    }
}

// [MQTT-2.2.2-2]
#[test]
fn refuses_flags_in_the_fixed_header() {
    assert_eq!(refused(b"\x11"), (0, What::NotConnect));
}

// [MQTT5-1.5.5-1]
#[test]
fn refuses_a_remaining_length_that_is_not_the_shortest() {
    let length = What::Length("remaining length");

    assert_eq!(refused(b"\x10\x80\0"), (2, length));
    assert_eq!(refused(b"\x10\x8d\x80\0"), (3, length));
}

#[test]
fn refuses_a_remaining_length_of_five_bytes() {
    let length = What::Length("remaining length");

    assert_eq!(refused(b"\x10\xff\xff\xff\xff"), (4, length));
}

#[test]
fn refuses_a_packet_above_the_limit_before_it_comes() {
    let mut received = BytesMut::from(b"\x10\x63\0\x04MQTT\x05".as_slice());

    let wrong = Decoder::new(100).decode(&mut received).unwrap_err();

    let (size, limit) = (101, 100);
    assert_eq!(wrong.what, What::PacketTooLarge { size, limit });
    assert_eq!((wrong.at, wrong.version), (8, Some(Version::V5)));
}

// [MQTT-3.1.2-1]
#[test]
fn refuses_the_first_wrong_letter_of_the_protocol_name() {
    let refused = |name: &[u8]| refused(&[b"\x10\x14", name].concat());

    assert_eq!(refused(b"\x01"), (2, What::ProtocolName));
    assert_eq!(refused(b"\0\x05"), (3, What::ProtocolName));
    assert_eq!(refused(b"\0\x04MQTt"), (7, What::ProtocolName));
    assert_eq!(refused(b"\0\x06MQTT"), (6, What::ProtocolName));
    assert_eq!(refused(b"\0\x06MQIsdP"), (9, What::ProtocolName));
}

// [MQTT-3.1.2-2]
#[test]
fn refuses_a_level_that_is_not_one_of_the_name() {
    for (name, level) in [
        (b"\0\x04MQTT".as_slice(), 0),
        (b"\0\x04MQTT", 3),
        (b"\0\x04MQTT", 6),
        (b"\0\x04MQTT", 0x83),
        (b"\0\x04MQTT", 0x85),
        (b"\0\x06MQIsdp", 4),
        (b"\0\x06MQIsdp", 5),
        (b"\0\x06MQIsdp", 0x84),
    ] {
        let bytes = [b"\x10\x14", name, &[level]].concat();

        let wrong = decode(&bytes).unwrap_err();

        assert_eq!(wrong.what, What::UnsupportedVersion { level });
        assert_eq!((wrong.at, wrong.version), (bytes.len() - 1, None));
    }
}

/// What is said of these connect flags in a packet that is good otherwise.
fn refused_flags(protocol: &[u8], flags: u8) -> (usize, What) {
    refused(&packet(&[protocol, &[flags], b"\0\0"].concat()))
}

// [MQTT-3.1.2-3]
#[test]
fn refuses_the_reserved_flag() {
    assert_eq!(refused_flags(V3_1_1, 0x03), (9, What::ReservedFlag));
    assert_eq!(refused_flags(V5, 0x03), (9, What::ReservedFlag));
}

// [MQTT-3.1.2-14]
#[test]
fn refuses_will_qos_3() {
    assert_eq!(refused_flags(V3_1, 0x1e), (11, What::WillQos));
    assert_eq!(refused_flags(V3_1_1, 0x1e), (9, What::WillQos));
    assert_eq!(refused_flags(V5, 0x1e), (9, What::WillQos));
}

// [MQTT-3.1.2-13] [MQTT-3.1.2-15]
#[test]
fn refuses_will_qos_and_will_retain_without_a_will() {
    for flags in [0x0a, 0x12, 0x1a, 0x22] {
        assert_eq!(refused_flags(V3_1_1, flags), (9, What::WillFlags));
        assert_eq!(refused_flags(V5, flags), (9, What::WillFlags));
    }
}

// [MQTT-3.1.2-22]
#[test]
fn refuses_a_password_without_a_user_name_before_5_0() {
    assert_eq!(refused_flags(V3_1, 0x42), (11, What::PasswordAlone));
    assert_eq!(refused_flags(V3_1_1, 0x42), (9, What::PasswordAlone));
}

// [MQTT-3.1.3-8]
#[test]
fn refuses_an_empty_client_id_that_wants_its_session() {
    let what = What::ClientIdRejected(Version::V3_1_1);

    assert_eq!(refused(&packet(b"\0\x04MQTT\x04\0\0\0\0\0")), (13, what));
}

#[test]
fn refuses_an_empty_client_id_of_3_1() {
    let what = What::ClientIdRejected(Version::V3_1);

    let bytes = packet(b"\0\x06MQIsdp\x03\x02\0\0\0\0");

    assert_eq!(refused(&bytes), (15, what));
}

#[test]
fn refuses_a_packet_that_ends_before_a_field() {
    let fits = What::DoesNotFit;

    assert_eq!(refused(b"\x10\0"), (1, fits("protocol name")));
    assert_eq!(refused(b"\x10\x01\0"), (2, fits("protocol name")));
    assert_eq!(refused(&packet(b"\0\x04MQTT")), (7, fits("protocol level")));
    assert_eq!(refused(&packet(V3_1_1)), (8, fits("connect flags")));
    assert_eq!(refused_flags(V3_1_1, 0x02), (11, fits("client id")));
    assert_eq!(refused_flags(V5, 0x02), (11, fits("property length")));
    assert_eq!(
        refused(&packet(b"\0\x04MQTT\x04\x02\0")),
        (9, fits("keep alive"))
    );
}

#[test]
fn refuses_a_length_that_leads_out_of_the_packet_before_the_rest_comes() {
    let fits = What::DoesNotFit;

    // The packets are cut behind the length, and would end eight bytes later.
    let client_id = b"\x10\x14\0\x04MQTT\x04\x02\0\0\0\x09";
    assert_eq!(refused(client_id), (13, fits("client id")));
    let payload = b"\x10\x18\0\x04MQTT\x04\x06\0\0\0\0\0\0\0\x09";
    assert_eq!(refused(payload), (17, fits("will payload")));
    let user_name = b"\x10\x14\0\x04MQTT\x04\x82\0\0\0\0\xff\xff";
    assert_eq!(refused(user_name), (15, fits("user name")));
    let properties = b"\x10\x13\0\x04MQTT\x05\x02\0\0\x09";
    assert_eq!(refused(properties), (12, fits("property section")));
}

#[test]
fn refuses_bytes_behind_the_last_field() {
    let bytes = packet(b"\0\x04MQTT\x04\x02\0\0\0\x01abc");

    assert_eq!(refused(&bytes), (14, What::LeftOver(2)));
}

// [MQTT-1.5.3-1]
#[test]
fn refuses_text_that_is_not_utf_8_at_the_byte_that_tells() {
    let refused = |id: &[u8]| {
        let id = sized([id, b"~~~~"].concat());
        refused(&packet(
            &[b"\0\x04MQTT\x04\x02\0\0", id.as_slice()].concat(),
        ))
    };
    let utf8 = What::Utf8("client id");

    assert_eq!(refused(b"ab\xff"), (16, utf8));
    assert_eq!(refused(b"ab\x80"), (16, utf8));
    assert_eq!(refused(b"ab\xc0\x80"), (16, utf8));
    assert_eq!(refused(b"ab\xe2\x28"), (17, utf8));
    assert_eq!(refused(b"ab\xed\xa0\x80"), (17, utf8));
    assert_eq!(refused(b"ab\xf0\x9f\x98"), (19, utf8));
}

#[test]
fn refuses_text_that_ends_inside_a_character() {
    let bytes = packet(b"\0\x04MQTT\x04\x02\0\0\0\x03a\xe2\x82");

    assert_eq!(refused(&bytes), (16, What::Utf8("client id")));
}

// [MQTT-1.5.3-2]
#[test]
fn refuses_the_null_character_in_every_text() {
    let refused = |body: &[u8]| refused(&packet(body)).1;
    let character = What::Character;

    assert_eq!(
        refused(b"\0\x04MQTT\x04\x02\0\0\0\x02a\0"),
        character("client id")
    );
    assert_eq!(
        refused(b"\0\x04MQTT\x04\x06\0\0\0\0\0\x02a\0"),
        character("will topic")
    );
    assert_eq!(
        refused(b"\0\x04MQTT\x04\x82\0\0\0\0\0\x02a\0"),
        character("user name")
    );
}

// [MQTT-3.3.2-2]
#[test]
fn refuses_a_wildcard_in_the_will_topic() {
    for topic in [b"a/+", b"a/#"] {
        let bytes = packet(&[b"\0\x04MQTT\x04\x06\0\0\0\0\0\x03", topic.as_slice()].concat());

        assert_eq!(refused(&bytes), (18, What::Character("will topic")));
    }
}

#[test]
fn refuses_properties_that_do_not_belong_to_a_connect() {
    for id in [0, 1, 18, 36, 127, 128, 255] {
        assert_eq!(
            refused(&with_properties(&[id, 0])),
            (13, What::UnknownProperty(id))
        );
    }
}

#[test]
fn refuses_properties_that_do_not_belong_to_a_will() {
    let bytes = packet(b"\0\x04MQTT\x05\x06\0\0\0\0\0\x05\x11\0\0\0\0\0\0\0\0");

    assert_eq!(refused(&bytes), (16, What::UnknownProperty(17)));
}

#[test]
fn refuses_a_property_that_is_there_twice() {
    let bytes = with_properties(b"\x17\x01\x17\x01");

    assert_eq!(refused(&bytes), (15, What::DuplicateProperty(23)));
}

#[test]
fn refuses_property_values_out_of_range() {
    let refused = |property: &[u8]| refused(&with_properties(property));

    assert_eq!(refused(b"\x21\0\0"), (15, What::PropertyValue(33)));
    assert_eq!(refused(b"\x27\0\0\0\0"), (17, What::PropertyValue(39)));
    assert_eq!(refused(b"\x17\x02"), (14, What::PropertyValue(23)));
    assert_eq!(refused(b"\x19\x02"), (14, What::PropertyValue(25)));
}

#[test]
fn refuses_authentication_data_without_a_method() {
    let bytes = with_properties(b"\x16\0\x01x");

    assert_eq!(refused(&bytes), (16, What::AuthenticationData));
}

#[test]
fn refuses_a_property_that_leads_out_of_its_section() {
    let value = What::DoesNotFit("property value");

    assert_eq!(refused(&with_properties(b"\x11\0\0\0")), (13, value));
    assert_eq!(refused(&with_properties(b"\x15\0\x02x")), (15, value));
    assert_eq!(refused(&with_properties(b"\x26\0\x01k")), (16, value));
}

#[test]
fn refuses_a_property_length_that_is_not_the_shortest() {
    let bytes = packet(b"\0\x04MQTT\x05\x02\0\0\x80\0\0\0");

    assert_eq!(refused(&bytes), (13, What::Length("property length")));
}

#[test]
fn says_which_byte_is_wrong_and_why() {
    let said = |bytes: &[u8]| decode(bytes).unwrap_err().to_string();

    assert_eq!(said(b"GET /"), "byte 0 is 0x47: not a CONNECT");
    assert_eq!(
        said(b"\x10\x14\0\x04MQTT\x06"),
        "byte 8 is 0x06: protocol level 6 is not one of this protocol name"
    );
    assert_eq!(
        said(b"\x10\x14\0\x04MQTT\x04\x02\0\0\0\x09"),
        "byte 13 is 0x09: client id does not fit in the packet"
    );
}

#[test]
fn tells_the_version_once_the_level_is_known() {
    let wrong = decode(b"\x10\x14\0\x06MQIsdp\x03\x1e").unwrap_err();

    assert_eq!(wrong.version, Some(Version::V3_1));
}

const V3_1: &[u8] = b"\0\x06MQIsdp\x03";
const V3_1_1: &[u8] = b"\0\x04MQTT\x04";
const V5: &[u8] = b"\0\x04MQTT\x05";
