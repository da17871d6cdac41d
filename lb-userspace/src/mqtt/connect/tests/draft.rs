//! A CONNECT as a tester thinks of it, drawn at random and written to bytes.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::subsequence;

use super::{length, packet, sized};
use crate::mqtt::Version;

/// A well-formed CONNECT.
#[derive(Debug, Clone)]
pub(super) struct Draft {
    pub(super) version: Version,
    pub(super) clean_start: bool,
    pub(super) keep_alive: u16,
    properties: Vec<Vec<u8>>,
    pub(super) client_id: String,
    pub(super) will: Option<Will>,
    pub(super) user_name: Option<String>,
    pub(super) password: Option<Vec<u8>>,
}

#[derive(Debug, Clone)]
pub(super) struct Will {
    qos: u8,
    retain: bool,
    properties: Vec<Vec<u8>>,
    topic: String,
    payload: Vec<u8>,
}

impl Draft {
    pub(super) fn bytes(&self) -> Vec<u8> {
        let name = if self.version == Version::V3_1 {
            "MQIsdp"
        } else {
            "MQTT"
        };
        let mut body = sized(name);
        body.extend([self.version.level(), self.flags()]);
        body.extend(self.keep_alive.to_be_bytes());
        body.extend(self.section(&self.properties));
        body.extend(sized(&self.client_id));
        if let Some(will) = &self.will {
            body.extend(self.section(&will.properties));
            body.extend(sized(&will.topic));
            body.extend(sized(&will.payload));
        }
        body.extend(self.user_name.iter().flat_map(sized));
        body.extend(self.password.iter().flat_map(sized));
        packet(&body)
    }

    fn flags(&self) -> u8 {
        let will = |will: &Will| 0x04 | will.qos << 3 | u8::from(will.retain) << 5;
        u8::from(self.clean_start) << 1
            | self.will.as_ref().map_or(0, will)
            | u8::from(self.password.is_some()) << 6
            | u8::from(self.user_name.is_some()) << 7
    }

    fn section(&self, properties: &[Vec<u8>]) -> Vec<u8> {
        if self.version != Version::V5 {
            return Vec::new();
        }
        let properties = properties.concat();
        [length(properties.len()), properties].concat()
    }
}

pub(super) fn any_draft() -> impl Strategy<Value = Draft> {
    let version = prop_oneof![
        Just(Version::V3_1),
        Just(Version::V3_1_1),
        Just(Version::V5)
    ];
    (
        (version, any::<bool>(), any::<u16>(), connect_properties()),
        ("\\PC{0,40}", proptest::option::of(any_will())),
        proptest::option::of(("\\PC{0,8}", proptest::option::of(vec(any::<u8>(), 0..8)))),
    )
        .prop_map(|(fixed, (client_id, will), login)| {
            let (version, clean_start, keep_alive, properties) = fixed;
            let (user_name, password) = login.unzip();
            Draft {
                version,
                clean_start: clean_start || version != Version::V5,
                keep_alive,
                properties,
                client_id: if version == Version::V3_1 {
                    client_id + "!"
                } else {
                    client_id
                },
                will,
                user_name,
                password: password.flatten(),
            }
        })
}

fn any_will() -> impl Strategy<Value = Will> {
    (
        0..3_u8,
        any::<bool>(),
        will_properties(),
        "[a-z/]{0,12}",
        vec(any::<u8>(), 0..40),
    )
        .prop_map(|(qos, retain, properties, topic, payload)| Will {
            qos,
            retain,
            properties,
            topic,
            payload,
        })
}

fn connect_properties() -> impl Strategy<Value = Vec<Vec<u8>>> {
    any_of(&[
        b"\x11\0\0\x0e\x10",
        b"\x17\0",
        b"\x19\x01",
        b"\x21\0\x14",
        b"\x22\0\x0a",
        b"\x26\0\x01k\0\x02\xc3\xa9",
        b"\x26\0\x01k\0\0",
        b"\x27\0\x01\0\0",
        // The data without the method would be malformed.
        b"\x15\0\x05SCRAM\x16\0\x02\xff\0",
    ])
}

fn will_properties() -> impl Strategy<Value = Vec<Vec<u8>>> {
    any_of(&[
        b"\x01\0",
        b"\x02\0\0\0\x3c",
        b"\x03\0\x04text",
        b"\x08\0\x07reply/a",
        b"\x09\0\x02\xfe\0",
        b"\x18\0\0\0\x05",
        b"\x26\0\0\0\0",
        b"\x26\0\x01k\0\x01v",
    ])
}

fn any_of(properties: &[&[u8]]) -> impl Strategy<Value = Vec<Vec<u8>>> + use<> {
    let properties: Vec<Vec<u8>> = properties.iter().map(|bytes| bytes.to_vec()).collect();
    let most = properties.len();
    subsequence(properties, 0..=most).prop_shuffle()
}
