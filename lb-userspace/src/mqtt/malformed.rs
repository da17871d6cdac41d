//! Why bytes are not the packet they should be.

use thiserror::Error;

use super::Version;

/// The first byte that makes the packet impossible: without it, more bytes could have made
/// the packet good; with it, none can.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("byte {at} is {byte:#04x}: {what}")]
pub struct Malformed {
    /// Offset from the first byte of the packet.
    pub at: usize,
    /// The value at that offset.
    pub byte: u8,
    pub what: What,
    /// `None` before the protocol level is known.
    pub version: Option<Version>,
}

/// The rule that is broken. A `&'static str` names the field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum What {
    #[error("authentication data without an authentication method")]
    AuthenticationData,
    #[error("{0} holds a character that is not allowed there")]
    Character(&'static str),
    #[error("MQTT {0} needs a client id here")]
    ClientIdRejected(Version),
    #[error("{0} does not fit in the packet")]
    DoesNotFit(&'static str),
    #[error("property {0} is there twice")]
    DuplicateProperty(u8),
    #[error("{0} bytes are left over behind the last field")]
    LeftOver(usize),
    #[error("{0} is not a variable byte integer in its shortest form")]
    Length(&'static str),
    #[error("not a CONNACK")]
    NotConnack,
    #[error("not a CONNECT")]
    NotConnect,
    #[error("packet of {size} bytes is larger than {limit}")]
    PacketTooLarge {
        /// Bytes of the whole packet, fixed header included.
        size: usize,
        /// The most that is let through, counted like `size`.
        limit: usize,
    },
    #[error("password without a user name")]
    PasswordAlone,
    #[error("value of property {0} is out of its range")]
    PropertyValue(u8),
    #[error("protocol name is neither MQTT nor MQIsdp")]
    ProtocolName,
    #[error("reserved flag is set")]
    ReservedFlag,
    #[error("property {0} does not belong here")]
    UnknownProperty(u8),
    #[error("protocol level {level} is not one of this protocol name")]
    UnsupportedVersion { level: u8 },
    #[error("{0} is not UTF-8")]
    Utf8(&'static str),
    #[error("will QoS or will retain without a will")]
    WillFlags,
    #[error("will QoS is 3")]
    WillQos,
}
