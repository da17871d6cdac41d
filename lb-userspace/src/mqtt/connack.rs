//! What a broker answers first: a CONNACK, or in MQTT 5.0 an AUTH.

use super::Version;
use super::cursor::{Cursor, Span, Stop};
use super::malformed::{Malformed, What};
use super::property::{self, Place, Property, Section, Value};

#[cfg(test)]
mod tests;

/// The first packet of a broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum First {
    /// The broker goes on with an enhanced authentication; its CONNACK comes later.
    Auth,
    Connack(Connack),
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Connack {
    /// Bytes of the packet, fixed header included.
    pub len: usize,
    pub session_present: bool,
    /// The return code of 3.1 and 3.1.1 or the reason code of 5.0, as the broker sent it.
    pub code: u8,
    /// Seconds; the keep alive the client must use instead of its own.
    pub server_keep_alive: Option<u16>,
    /// Another broker, to which the client is sent.
    pub server_reference: Option<String>,
    /// The client id that the broker chose for a client without one.
    pub assigned_client_id: Option<String>,
}

/// Reads the first packet of a broker, or `None` while more is needed.
///
/// `version` is that of the CONNECT, `bytes` is everything the broker sent so far, and
/// `limit` the most bytes the packet may have. A CONNACK is small: each call starts anew.
///
/// # Errors
///
/// No further bytes can make this a CONNACK.
pub fn decode(version: Version, bytes: &[u8], limit: usize) -> Result<Option<First>, Malformed> {
    match first(version, &mut Cursor::new(bytes), limit) {
        Ok(first) => Ok(Some(first)),
        Err(Stop::More) => Ok(None),
        Err(Stop::Malformed(malformed)) => Err(Malformed {
            version: Some(version),
            ..malformed
        }),
    }
}

impl Connack {
    pub const fn is_accepted(&self) -> bool {
        self.code == 0
    }

    fn take(&mut self, Property { id, value }: Property, bytes: &[u8]) {
        let text = |span: Span| Some(span.text(bytes).to_owned());
        match (id, value) {
            (property::ASSIGNED_CLIENT_ID, Value::Text(span)) => {
                self.assigned_client_id = text(span);
            }
            (property::SERVER_KEEP_ALIVE, Value::Number(seconds)) => {
                self.server_keep_alive = u16::try_from(seconds).ok();
            }
            (property::SERVER_REFERENCE, Value::Text(span)) => self.server_reference = text(span),
            _ => {}
        }
    }
}

fn first(version: Version, cursor: &mut Cursor<'_>, limit: usize) -> Result<First, Stop> {
    match (cursor.u8("packet type")?, version) {
        (0x20, _) => connack(version, cursor, limit).map(First::Connack),
        (0xf0, Version::V5) => Ok(First::Auth),
        _ => Err(cursor.wrong(What::NotConnack)),
    }
}

fn connack(version: Version, cursor: &mut Cursor<'_>, limit: usize) -> Result<Connack, Stop> {
    let len = cursor.packet_end(limit)?;
    let flags = cursor.u8("connack flags")?;
    // [MQTT-3.2.2-1]; 3.1 does not use this byte.
    if flags > SESSION_PRESENT && version != Version::V3_1 {
        return Err(cursor.wrong(What::ReservedFlag));
    }
    let mut connack = Connack {
        len,
        session_present: flags == SESSION_PRESENT && version != Version::V3_1,
        code: cursor.u8("connack code")?,
        ..Connack::default()
    };

    // A broker that does not know 5.0 refuses it with a CONNACK of 3.1.1.
    if version == Version::V5 && cursor.left() > 0 {
        let mut section = Section::open(cursor)?;
        while let Some(property) = section.next(cursor, Place::Connack)? {
            connack.take(property, cursor.bytes);
        }
    }
    cursor.finish()?;
    Ok(connack)
}

/// Decodes `bytes` in every dialect, whole and cut at the byte that is refused.
///
/// # Panics
///
/// If a refusal does not blame the first impossible byte.
#[doc(hidden)]
pub fn fuzz(bytes: &[u8]) {
    for version in [Version::V3_1, Version::V3_1_1, Version::V5] {
        let decode = |bytes| decode(version, bytes, FUZZ_LIMIT);
        match decode(bytes) {
            Ok(Some(First::Connack(connack))) => {
                assert_eq!(decode(&bytes[..connack.len - 1]), Ok(None));
            }
            Ok(Some(First::Auth) | None) => {}
            Err(wrong) => {
                assert_eq!(decode(&bytes[..wrong.at]), Ok(None));
                assert_eq!(decode(&bytes[..=wrong.at]), Err(wrong));
            }
        }
    }
}

const SESSION_PRESENT: u8 = 0x01;

/// Bytes.
const FUZZ_LIMIT: usize = 64 * 1024;
