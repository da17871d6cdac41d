//! Decodes a CONNECT while it arrives, one field after the other.

use std::mem;

use bytes::BytesMut;

use super::flags::Flags;
use super::{Connect, Layout};
use crate::mqtt::Version;
use crate::mqtt::cursor::{Cursor, Span, Stop};
use crate::mqtt::malformed::{Malformed, What};
use crate::mqtt::property::{self, Place, Property, Section, Value};

/// Waits for one CONNECT, and refuses it at the first impossible byte.
///
/// Its size is constant and it allocates nothing. What it has checked it does not check
/// again, so a packet that comes byte by byte costs about as much as one that comes whole.
#[derive(Debug)]
pub struct Decoder {
    limit: usize,
    /// The field to read.
    next: Next,
    /// Where that field begins.
    at: usize,
    /// Where the packet ends, once the fixed header is read.
    end: usize,
    /// How far the text of that field is checked.
    proven: usize,
    section: Section,
    layout: Layout,
}

/// The fields in the order of the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
enum Next {
    FixedHeader,
    Protocol,
    Flags,
    KeepAlive,
    Properties(Place),
    Property(Place),
    ClientId,
    WillTopic,
    WillPayload,
    UserName,
    Password,
    End,
}

impl Decoder {
    /// `limit`: the most bytes the whole packet may have, fixed header included.
    pub const fn new(limit: usize) -> Self {
        Self {
            limit,
            next: Next::FixedHeader,
            at: 0,
            end: usize::MAX,
            proven: 0,
            section: Section::EMPTY,
            layout: Layout {
                version: Version::V3_1_1,
                bridge: false,
                flags: Flags::new(0),
                keep_alive: 0,
                session_expiry: None,
                client_id: Span::EMPTY,
                user_name: None,
                password: None,
            },
        }
    }

    /// Takes the packet from the front of `received`, or nothing while more is needed.
    ///
    /// `received` is everything that came so far, from the first byte of the connection;
    /// between calls it only grows. What the client sent behind its CONNECT stays in it.
    ///
    /// # Errors
    ///
    /// No further bytes can make this a CONNECT that we accept.
    pub fn decode(&mut self, received: &mut BytesMut) -> Result<Option<Connect>, Malformed> {
        while self.next != Next::End {
            let mut cursor = Cursor {
                bytes: received,
                at: self.at,
                end: self.end,
                proven: self.proven,
            };
            match self.field(&mut cursor) {
                Ok(next) => {
                    self.at = cursor.at;
                    self.next = next;
                }
                Err(Stop::More) => {
                    self.proven = cursor.proven;
                    return Ok(None);
                }
                Err(Stop::Malformed(malformed)) => return Err(self.blame(malformed)),
            }
        }
        let Self { end, layout, .. } = mem::replace(self, Self::new(self.limit));
        let bytes = received.split_to(end).freeze();
        Ok(Some(Connect { bytes, layout }))
    }

    fn blame(&self, malformed: Malformed) -> Malformed {
        let is_version_known = self.next > Next::Protocol;
        Malformed {
            version: is_version_known.then_some(self.layout.version),
            ..malformed
        }
    }

    /// Reads one field and tells which one follows.
    fn field(&mut self, cursor: &mut Cursor<'_>) -> Result<Next, Stop> {
        match self.next {
            Next::FixedHeader => self.fixed_header(cursor),
            Next::Protocol => self.protocol(cursor),
            Next::Flags => self.flags(cursor),
            Next::KeepAlive => self.keep_alive(cursor),
            Next::Properties(place) => self.properties(cursor, place),
            Next::Property(place) => self.property(cursor, place),
            Next::ClientId => self.client_id(cursor),
            Next::WillTopic => cursor.topic("will topic").map(|_| Next::WillPayload),
            Next::WillPayload => cursor.binary("will payload").map(|_| Next::UserName),
            Next::UserName => self.user_name(cursor),
            Next::Password => self.password(cursor),
            Next::End => Ok(Next::End),
        }
    }

    fn fixed_header(&mut self, cursor: &mut Cursor<'_>) -> Result<Next, Stop> {
        // [MQTT-3.1.0-1] [MQTT-2.2.2-2]
        if cursor.u8("packet type")? != 0x10 {
            return Err(cursor.wrong(What::NotConnect));
        }
        self.end = cursor.packet_end(usize::MAX)?;
        Ok(Next::Protocol)
    }

    fn protocol(&mut self, cursor: &mut Cursor<'_>) -> Result<Next, Stop> {
        let name = protocol_name(cursor)?;
        let level = cursor.u8("protocol level")?;

        self.layout.bridge = level & BRIDGE != 0;
        self.layout.version = match (name, level) {
            (b"MQIsdp", 0x03 | 0x83) => Version::V3_1,
            (b"MQTT", 0x04 | 0x84) => Version::V3_1_1,
            (b"MQTT", 0x05) => Version::V5,
            // [MQTT-3.1.2-2]
            _ => return Err(cursor.wrong(What::UnsupportedVersion { level })),
        };
        Ok(Next::Flags)
    }

    fn flags(&mut self, cursor: &mut Cursor<'_>) -> Result<Next, Stop> {
        // Not before the version is known: 5.0 has a code for it (MQTT 5.0, table 3-1).
        let (size, limit) = (self.end, self.limit);
        if size > limit {
            return Err(cursor.wrong(What::PacketTooLarge { size, limit }));
        }
        self.layout.flags = Flags::new(cursor.u8("connect flags")?);
        if let Some(what) = self.layout.flags.flaw(self.layout.version) {
            return Err(cursor.wrong(what));
        }
        Ok(Next::KeepAlive)
    }

    fn keep_alive(&mut self, cursor: &mut Cursor<'_>) -> Result<Next, Stop> {
        self.layout.keep_alive = cursor.u16("keep alive")?;
        Ok(match self.layout.version {
            Version::V3_1 | Version::V3_1_1 => Next::ClientId,
            Version::V5 => Next::Properties(Place::Connect),
        })
    }

    fn properties(&mut self, cursor: &mut Cursor<'_>, place: Place) -> Result<Next, Stop> {
        self.section = Section::open(cursor)?;
        Ok(Next::Property(place))
    }

    fn property(&mut self, cursor: &mut Cursor<'_>, place: Place) -> Result<Next, Stop> {
        let Some(Property { id, value }) = self.section.next(cursor, place)? else {
            return Ok(match place {
                Place::Will => Next::WillTopic,
                Place::Connack | Place::Connect => Next::ClientId,
            });
        };
        if let (property::SESSION_EXPIRY, Value::Number(seconds)) = (id, value) {
            self.layout.session_expiry = Some(seconds);
        }
        Ok(Next::Property(place))
    }

    fn client_id(&mut self, cursor: &mut Cursor<'_>) -> Result<Next, Stop> {
        let Layout { version, flags, .. } = self.layout;

        self.layout.client_id = cursor.text("client id")?;
        let is_needed = match version {
            Version::V3_1 => true,
            // [MQTT-3.1.3-7] [MQTT-3.1.3-8]
            Version::V3_1_1 => !flags.has(Flags::CLEAN_START),
            // [MQTT5-3.1.3-6]
            Version::V5 => false,
        };
        if is_needed && self.layout.client_id.is_empty() {
            return Err(cursor.wrong(What::ClientIdRejected(version)));
        }
        Ok(match (flags.has(Flags::WILL), version) {
            (false, _) => Next::UserName,
            (true, Version::V3_1 | Version::V3_1_1) => Next::WillTopic,
            (true, Version::V5) => Next::Properties(Place::Will),
        })
    }

    fn user_name(&mut self, cursor: &mut Cursor<'_>) -> Result<Next, Stop> {
        if self.holds(Flags::USER_NAME, cursor) {
            self.layout.user_name = Some(cursor.text("user name")?);
        }
        Ok(Next::Password)
    }

    fn password(&mut self, cursor: &mut Cursor<'_>) -> Result<Next, Stop> {
        if self.holds(Flags::PASSWORD, cursor) {
            self.layout.password = Some(cursor.binary("password")?);
        }
        cursor.finish()?;
        Ok(Next::End)
    }

    /// Whether the payload goes on with what `flag` announces. In 3.1 the packet may end
    /// there all the same: its remaining length takes precedence over the two last flags.
    fn holds(&self, flag: u8, cursor: &Cursor<'_>) -> bool {
        let is_cut = self.layout.version == Version::V3_1 && cursor.left() == 0;
        self.layout.flags.has(flag) && !is_cut
    }
}

/// Reads `MQTT` or `MQIsdp`, and refuses the first wrong letter. [MQTT-3.1.2-1]
fn protocol_name(cursor: &mut Cursor<'_>) -> Result<&'static [u8], Stop> {
    const FIELD: &str = "protocol name";

    if cursor.u8(FIELD)? != 0 {
        return Err(cursor.wrong(What::ProtocolName));
    }
    let name: &[u8] = match cursor.u8(FIELD)? {
        4 => b"MQTT",
        6 => b"MQIsdp",
        _ => return Err(cursor.wrong(What::ProtocolName)),
    };
    for letter in name {
        if cursor.u8(FIELD)? != *letter {
            return Err(cursor.wrong(What::ProtocolName));
        }
    }
    Ok(name)
}

/// The bit that a bridge sets in its protocol level.
const BRIDGE: u8 = 0x80;
