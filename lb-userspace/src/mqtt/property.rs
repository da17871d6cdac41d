//! The properties of MQTT 5.0: a section of numbered values.

use super::cursor::{Cursor, Span, Stop};
use super::malformed::What;

pub(super) const ASSIGNED_CLIENT_ID: u8 = 18;
pub(super) const SERVER_KEEP_ALIVE: u8 = 19;
pub(super) const SERVER_REFERENCE: u8 = 28;
pub(super) const SESSION_EXPIRY: u8 = 17;

/// Which properties may be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
pub(super) enum Place {
    Connack,
    Connect,
    Will,
}

/// The properties of one place, read one after the other.
#[derive(Debug, Clone, Copy)]
pub(super) struct Section {
    /// Offset in the packet.
    end: usize,
    /// One bit for each property that was there; no id of a known property is above 42.
    seen: u64,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Property {
    pub(super) id: u8,
    pub(super) value: Value,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Value {
    Number(u32),
    /// Checked, and of no interest to us.
    Opaque,
    Text(Span),
}

/// How a value looks on the wire.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Binary,
    /// One byte, 0 or 1.
    Bit,
    /// Two bytes, not 0.
    Count16,
    /// Four bytes, not 0.
    Count32,
    /// Two bytes.
    Number16,
    /// Four bytes.
    Number32,
    /// A key and a value, both text.
    Pair,
    Text,
    Topic,
}

impl Section {
    pub(super) const EMPTY: Self = Self { end: 0, seen: 0 };

    /// Reads how long the section is.
    pub(super) fn open(cursor: &mut Cursor<'_>) -> Result<Self, Stop> {
        let len = cursor.length("property length")?;
        if len > cursor.left() {
            return Err(cursor.wrong(What::DoesNotFit("property section")));
        }

        Ok(Self {
            end: cursor.at + len,
            seen: 0,
        })
    }

    /// Reads the next property, or `None` behind the last.
    pub(super) fn next(
        &mut self,
        cursor: &mut Cursor<'_>,
        place: Place,
    ) -> Result<Option<Property>, Stop> {
        if cursor.at == self.end {
            return self.close(cursor).map(|()| None);
        }
        cursor.within(self.end, |cursor| self.read(cursor, place).map(Some))
    }

    fn read(&mut self, cursor: &mut Cursor<'_>, place: Place) -> Result<Property, Stop> {
        let id = cursor.u8("property")?;
        let kind = kind(place, id).ok_or_else(|| cursor.wrong(What::UnknownProperty(id)))?;
        if self.has(id) && id != USER_PROPERTY {
            return Err(cursor.wrong(What::DuplicateProperty(id)));
        }

        let value = kind.read(cursor, id)?;
        self.seen |= 1 << id;
        Ok(Property { id, value })
    }

    fn close(&self, cursor: &Cursor<'_>) -> Result<(), Stop> {
        // MQTT 5.0, 3.1.2.11.10.
        if self.has(AUTHENTICATION_DATA) && !self.has(AUTHENTICATION_METHOD) {
            return Err(cursor.wrong(What::AuthenticationData));
        }
        Ok(())
    }

    const fn has(&self, id: u8) -> bool {
        self.seen & (1 << id) != 0
    }
}

impl Kind {
    fn read(self, cursor: &mut Cursor<'_>, id: u8) -> Result<Value, Stop> {
        let number = match self {
            Self::Binary => return cursor.binary(VALUE).map(|_| Value::Opaque),
            Self::Pair => {
                cursor.text(VALUE)?;
                return cursor.text(VALUE).map(|_| Value::Opaque);
            }
            Self::Text => return cursor.text(VALUE).map(Value::Text),
            Self::Topic => return cursor.topic(VALUE).map(Value::Text),
            Self::Bit => u32::from(cursor.u8(VALUE)?),
            Self::Count16 | Self::Number16 => u32::from(cursor.u16(VALUE)?),
            Self::Count32 | Self::Number32 => cursor.u32(VALUE)?,
        };
        if !self.allows(number) {
            return Err(cursor.wrong(What::PropertyValue(id)));
        }
        Ok(Value::Number(number))
    }

    const fn allows(self, number: u32) -> bool {
        match self {
            Self::Bit => number <= 1,
            Self::Count16 | Self::Count32 => number != 0,
            Self::Binary
            | Self::Number16
            | Self::Number32
            | Self::Pair
            | Self::Text
            | Self::Topic => true,
        }
    }
}

/// MQTT 5.0, table 2-4, as far as it is about the packets we read.
const fn kind(place: Place, id: u8) -> Option<Kind> {
    Some(match (place, id) {
        (Place::Will, 1) => Kind::Bit,       // payload format indicator
        (Place::Will, 2) => Kind::Number32,  // message expiry interval
        (Place::Will, 3) => Kind::Text,      // content type
        (Place::Will, 8) => Kind::Topic,     // response topic
        (Place::Will, 9) => Kind::Binary,    // correlation data
        (Place::Will, 24) => Kind::Number32, // will delay interval

        (Place::Connect, 23) => Kind::Bit, // request problem information
        (Place::Connect, 25) => Kind::Bit, // request response information

        (Place::Connack, ASSIGNED_CLIENT_ID) => Kind::Text,
        (Place::Connack, SERVER_KEEP_ALIVE) => Kind::Number16,
        (Place::Connack, 26) => Kind::Text, // response information
        (Place::Connack, SERVER_REFERENCE) => Kind::Text,
        (Place::Connack, 31) => Kind::Text, // reason string
        (Place::Connack, 36) => Kind::Bit,  // maximum QoS
        (Place::Connack, 37) => Kind::Bit,  // retain available
        (Place::Connack, 40) => Kind::Bit,  // wildcard subscription available
        (Place::Connack, 41) => Kind::Bit,  // subscription identifiers available
        (Place::Connack, 42) => Kind::Bit,  // shared subscription available

        (Place::Connack | Place::Connect, SESSION_EXPIRY) => Kind::Number32,
        (Place::Connack | Place::Connect, AUTHENTICATION_METHOD) => Kind::Text,
        (Place::Connack | Place::Connect, AUTHENTICATION_DATA) => Kind::Binary,
        (Place::Connack | Place::Connect, 33) => Kind::Count16, // receive maximum
        (Place::Connack | Place::Connect, 34) => Kind::Number16, // topic alias maximum
        (Place::Connack | Place::Connect, 39) => Kind::Count32, // maximum packet size

        (Place::Connack | Place::Connect | Place::Will, USER_PROPERTY) => Kind::Pair,
        _ => return None,
    })
}

const AUTHENTICATION_DATA: u8 = 22;
const AUTHENTICATION_METHOD: u8 = 21;
const USER_PROPERTY: u8 = 38;

/// What every value is called when it is wrong; the id stands in front of it.
const VALUE: &str = "property value";
