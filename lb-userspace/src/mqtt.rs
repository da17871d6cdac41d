//! The little MQTT we need: the one CONNECT a client sends, and the CONNACK that answers it.
//!
//! ```text
//!  client ── CONNECT ──▶ connect::Decoder ──▶ Connect ──▶ (choose, dial) ──▶ broker
//!         ◀── CONNACK ── refusal::Refusal        connack::decode ◀── CONNACK ──
//! ```
//!
//! Bytes come in as arguments; nothing here does I/O, reads a clock or logs. Marks such as
//! [MQTT-3.1.2-3] name a rule of MQTT 3.1.1, [MQTT5-3.1.2-3] one of MQTT 5.0. MQTT 3.1
//! has no marks; where it asks for less than 3.1.1, we ask for less.

use std::fmt;

pub mod connack;
pub mod connect;
mod cursor;
pub mod greeting;
mod malformed;
pub mod not_me;
mod property;
pub mod refusal;

pub use malformed::{Malformed, What};

/// A dialect, as the protocol name and level of a CONNECT tell it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Version {
    /// `MQIsdp`, level 3.
    V3_1,
    /// `MQTT`, level 4.
    V3_1_1,
    /// `MQTT`, level 5.
    V5,
}

impl Version {
    /// The protocol level of a client that is not a bridge: 3, 4 or 5.
    pub const fn level(self) -> u8 {
        match self {
            Self::V3_1 => 3,
            Self::V3_1_1 => 4,
            Self::V5 => 5,
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V3_1 => "3.1",
            Self::V3_1_1 => "3.1.1",
            Self::V5 => "5.0",
        })
    }
}

/// The packets in a file of hex lines and comments.
#[cfg(test)]
fn seeds(file: &str) -> Vec<Vec<u8>> {
    let is_packet = |line: &&str| !line.is_empty() && !line.starts_with('#');
    let byte = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap();
    let packet = |line: &str| line.as_bytes().chunks(2).map(byte).collect();
    file.lines().filter(is_packet).map(packet).collect()
}
