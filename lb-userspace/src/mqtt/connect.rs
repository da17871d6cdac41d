//! The CONNECT of MQTT 3.1, 3.1.1 and 5.0, exactly as it came.

use std::fmt;

use bytes::{Bytes, BytesMut};

use super::Version;
use super::cursor::Span;

mod decoder;
mod flags;
#[cfg(test)]
mod tests;

pub use decoder::Decoder;
use flags::Flags;

/// One whole and well-formed CONNECT.
#[derive(Clone, PartialEq, Eq)]
pub struct Connect {
    bytes: Bytes,
    layout: Layout,
}

/// What a CONNECT says, and where in its bytes it says the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Layout {
    version: Version,
    bridge: bool,
    flags: Flags,
    keep_alive: u16,
    session_expiry: Option<u32>,
    client_id: Span,
    user_name: Option<Span>,
    password: Option<Span>,
}

impl Connect {
    pub const fn version(&self) -> Version {
        self.layout.version
    }

    /// Whether the client says it is a bridge: bit 7 of the protocol level, which brokers
    /// send to brokers over 3.1 and 3.1.1.
    pub const fn bridge(&self) -> bool {
        self.layout.bridge
    }

    /// Whether the client gives up the session it may have had: "clean session" before 5.0.
    pub const fn clean_start(&self) -> bool {
        self.layout.flags.has(Flags::CLEAN_START)
    }

    /// Seconds; 0 is no keep alive.
    pub const fn keep_alive(&self) -> u16 {
        self.layout.keep_alive
    }

    /// Seconds the session outlives the connection; `None` before 5.0 and where the client
    /// does not say.
    pub const fn session_expiry(&self) -> Option<u32> {
        self.layout.session_expiry
    }

    /// Up to 65,535 bytes; empty where the broker is to choose one.
    pub fn client_id(&self) -> &str {
        self.layout.client_id.text(&self.bytes)
    }

    pub fn user_name(&self) -> Option<&str> {
        self.layout.user_name.map(|span| span.text(&self.bytes))
    }

    pub const fn has_password(&self) -> bool {
        self.layout.password.is_some()
    }

    pub const fn has_will(&self) -> bool {
        self.layout.flags.has(Flags::WILL)
    }

    /// The packet as it was received, fixed header included.
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

/// Leaves out the bytes: they hold the password and the will.
impl fmt::Debug for Connect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connect")
            .field("version", &self.version())
            .field("bridge", &self.bridge())
            .field("clean_start", &self.clean_start())
            .field("keep_alive", &self.keep_alive())
            .field("session_expiry", &self.session_expiry())
            .field("client_id", &self.client_id())
            .field("user_name", &self.user_name())
            .field("has_password", &self.has_password())
            .field("has_will", &self.has_will())
            .finish_non_exhaustive()
    }
}

/// Decodes `bytes` at once and byte by byte.
///
/// # Panics
///
/// If the two answers differ, or if a refusal does not blame the first impossible byte.
#[doc(hidden)]
pub fn fuzz(bytes: &[u8]) {
    let answer = answer(bytes, bytes.len());

    assert_eq!(answer, self::answer(bytes, 1));
    match answer {
        Ok(Some(connect)) => assert_eq!(connect.bytes(), &bytes[..connect.bytes().len()]),
        Ok(None) => {}
        Err(wrong) => {
            assert_eq!(self::answer(&bytes[..wrong.at], wrong.at), Ok(None));
            assert_eq!(self::answer(&bytes[..=wrong.at], wrong.at + 1), Err(wrong));
        }
    }
}

/// What a decoder says after it was fed `bytes` in pieces of `step` bytes.
fn answer(bytes: &[u8], step: usize) -> Result<Option<Connect>, super::Malformed> {
    let mut decoder = Decoder::new(FUZZ_LIMIT);
    let mut received = BytesMut::new();
    for piece in bytes.chunks(step.max(1)) {
        received.extend_from_slice(piece);
        if let Some(connect) = decoder.decode(&mut received)? {
            return Ok(Some(connect));
        }
    }
    Ok(None)
}

/// Bytes.
const FUZZ_LIMIT: usize = 64 * 1024;
