//! MQTT packets as bytes, made without the daemon's own code.

use std::io::{self, Read};

pub const CONNACK: u8 = 0x20;
pub const PUBLISH: u8 = 0x30;
pub const SUBACK: u8 = 0x90;
pub const DISCONNECT: u8 = 0xe0;
pub const AUTH: u8 = 0xf0;

/// The protocol level of CONNECT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Version {
    V3_1 = 3,
    V3_1_1 = 4,
    V5 = 5,
}

impl Version {
    pub const ALL: [Self; 3] = [Self::V3_1, Self::V3_1_1, Self::V5];

    fn protocol_name(self) -> &'static str {
        match self {
            Self::V3_1 => "MQIsdp",
            Self::V3_1_1 | Self::V5 => "MQTT",
        }
    }
}

/// A CONNECT in the making.
#[derive(Debug, Clone)]
pub struct Connect {
    version: Version,
    id: String,
    is_clean: bool,
    keep_alive: u16,
    properties: Vec<u8>,
    /// The payload behind the client id, and the flags that announce it.
    extras: (u8, Vec<u8>),
}

impl Connect {
    /// A clean session with a keep-alive of a minute.
    pub fn new(version: Version, id: &str) -> Self {
        Self {
            version,
            id: id.to_owned(),
            is_clean: true,
            keep_alive: 60,
            properties: Vec::new(),
            extras: (0, Vec::new()),
        }
    }

    pub fn keep_session(mut self) -> Self {
        self.is_clean = false;
        self
    }

    pub fn keep_alive(mut self, seconds: u16) -> Self {
        self.keep_alive = seconds;
        self
    }

    /// Adds a will, a user name and a password; for 5.0 also every property, except those that
    /// begin an authentication.
    pub fn with_everything(mut self) -> Self {
        let mut payload = Vec::new();
        if self.version == Version::V5 {
            self.properties.extend(connect_properties());
            payload.extend(sized(will_properties()));
        }
        payload.extend(text(&format!("wills/{}", self.id)));
        payload.extend(text("gone"));
        payload.extend(text("user"));
        payload.extend(text("password"));
        // User name, password, will of QoS 1.
        self.extras = (0b1100_1100, payload);
        self
    }

    /// Adds a user name alone.
    pub fn user_name(mut self, name: &str) -> Self {
        self.extras = (0b1000_0000, text(name));
        self
    }

    /// MQTT 5.0: how long the session outlives the connection, in seconds.
    pub fn session_expiry(mut self, seconds: u32) -> Self {
        self.properties.push(0x11);
        self.properties.extend(seconds.to_be_bytes());
        self
    }

    /// Adds the properties that begin an authentication.
    pub fn with_authentication(mut self) -> Self {
        self.properties.push(0x15);
        self.properties.extend(text("SCRAM-SHA-256"));
        self.properties.push(0x16);
        self.properties.extend(text("n,,n=user,r=nonce"));
        self
    }

    pub fn bytes(&self) -> Vec<u8> {
        let (extra_flags, extra_payload) = &self.extras;
        let mut body = text(self.version.protocol_name());
        body.push(self.version as u8);
        body.push(extra_flags | u8::from(self.is_clean) << 1);
        body.extend(self.keep_alive.to_be_bytes());
        if self.version == Version::V5 {
            body.extend(sized(self.properties.clone()));
        }
        body.extend(text(&self.id));
        body.extend(extra_payload);
        packet(0x10, body)
    }
}

/// Session Expiry Interval, Receive Maximum, Maximum Packet Size, Topic Alias Maximum, Request
/// Response and Problem Information, two User Properties.
fn connect_properties() -> Vec<u8> {
    let mut properties = vec![0x11, 0, 0, 0, 1, 0x21, 0, 100, 0x27, 0, 1, 0, 0];
    properties.extend([0x22, 0, 10, 0x19, 1, 0x17, 1]);
    for value in ["one", "two"] {
        properties.push(0x26);
        properties.extend(text("key"));
        properties.extend(text(value));
    }
    properties
}

/// Will Delay, Payload Format, Message Expiry, Content Type, Response Topic, Correlation Data, User
/// Property.
fn will_properties() -> Vec<u8> {
    let mut properties = vec![0x18, 0, 0, 0, 0, 0x01, 1, 0x02, 0, 0, 0, 60];
    for (id, value) in [
        (0x03, "text/plain"),
        (0x08, "answers"),
        (0x09, "7"),
        (0x26, "key"),
    ] {
        properties.push(id);
        properties.extend(text(value));
    }
    properties.extend(text("value"));
    properties
}

/// SUBSCRIBE to one topic filter at QoS 0, packet identifier 1.
pub fn subscribe(version: Version, filter: &str) -> Vec<u8> {
    let mut body = vec![0, 1];
    if version == Version::V5 {
        body.push(0);
    }
    body.extend(text(filter));
    body.push(0);
    packet(0x82, body)
}

/// PUBLISH at QoS 0.
pub fn publish(version: Version, topic: &str, payload: &[u8]) -> Vec<u8> {
    packet(PUBLISH, message(version, topic, payload))
}

/// PUBLISH at QoS 0, to be retained.
pub fn publish_retained(version: Version, topic: &str, payload: &[u8]) -> Vec<u8> {
    packet(PUBLISH | 1, message(version, topic, payload))
}

fn message(version: Version, topic: &str, payload: &[u8]) -> Vec<u8> {
    let mut body = text(topic);
    if version == Version::V5 {
        body.push(0);
    }
    body.extend(payload);
    body
}

/// CONNACK; the properties are of 5.0 only.
pub fn connack(level: u8, code: u8, properties: &[u8]) -> Vec<u8> {
    let mut body = vec![0, code];
    if level & 0x7f == Version::V5 as u8 {
        body.extend(sized(properties.to_vec()));
    }
    packet(CONNACK, body)
}

/// The client id that a short CONNACK of 5.0 assigns.
pub fn assigned_id(connack: &[u8]) -> Option<String> {
    let mut properties = connack.get(5..)?;
    loop {
        let value_bytes = match properties.first()? {
            0x12 => {
                let end = 3 + usize::from(properties[2]);
                return String::from_utf8(properties.get(3..end)?.to_vec()).ok();
            }
            0x11 | 0x27 => 4,
            0x13 | 0x21 | 0x22 => 2,
            0x24 | 0x25 | 0x28 | 0x29 | 0x2a => 1,
            _ => return None,
        };
        properties = properties.get(1 + value_bytes..)?;
    }
}

/// DISCONNECT of 5.0 with a reason code.
pub fn disconnect(reason: u8) -> Vec<u8> {
    packet(DISCONNECT, vec![reason, 0])
}

/// A packet with its fixed header.
pub fn packet(first: u8, body: Vec<u8>) -> Vec<u8> {
    let mut packet = vec![first];
    packet.extend(sized(body));
    packet
}

/// Text or data behind its length in two bytes.
pub fn text(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).expect("MQTT text has at most 65535 bytes");
    let mut bytes = length.to_be_bytes().to_vec();
    bytes.extend(text.bytes());
    bytes
}

/// Bytes behind their length as a Variable Byte Integer.
fn sized(bytes: Vec<u8>) -> Vec<u8> {
    let mut sized = Vec::with_capacity(bytes.len() + 4);
    let mut left = bytes.len();
    loop {
        let low = u8::try_from(left % 128).expect("it is less than 128");
        left /= 128;
        sized.push(if left > 0 { low | 0x80 } else { low });
        if left == 0 {
            break;
        }
    }
    sized.extend(bytes);
    sized
}

/// Reads one packet: exactly its bytes, header included.
///
/// # Errors
///
/// The stream ended or failed within it.
pub fn read_packet(stream: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut packet = vec![0; 2];
    stream.read_exact(&mut packet)?;
    let mut remaining = usize::from(packet[1] & 0x7f);
    let mut shift = 7;
    while packet.last().is_some_and(|last| last & 0x80 != 0) {
        let mut next = [0];
        stream.read_exact(&mut next)?;
        packet.push(next[0]);
        remaining |= usize::from(next[0] & 0x7f) << shift;
        shift += 7;
    }
    let header = packet.len();
    packet.resize(header + remaining, 0);
    stream.read_exact(&mut packet[header..])?;
    Ok(packet)
}

/// The protocol level in a CONNECT.
pub fn level(connect: &[u8]) -> u8 {
    let header = 1
        + connect[1..]
            .iter()
            .take_while(|byte| **byte & 0x80 != 0)
            .count()
        + 1;
    let name = usize::from(connect[header + 1]);
    connect[header + 2 + name]
}
