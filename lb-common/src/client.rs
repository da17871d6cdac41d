//! Which backend a client id is bound to.

use crate::flow::CLIENT_HALF_BYTES;
use crate::shared;
use crate::text;

/// Bytes of a client id that a key shows; one more ends the text.
pub const SHOWN_BYTES: usize = 47;

/// A key of the `CLIENTS` map.
///
/// An id of up to [`SHOWN_BYTES`] bytes is there whole and its digest is zero. Of a longer one the
/// beginning is shown, and the digest keeps ids with the same beginning apart. A client without an
/// id has an empty text and the digest of its address and port.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientKey {
    pub id: [i8; SHOWN_BYTES + 1],
    /// The first 128 bits of a SHA-256, or zero.
    pub digest: [u8; 16],
}

impl ClientKey {
    /// The key of `id`; `digest` is asked for only where the text alone would not do.
    pub fn new(id: &str, digest: impl FnOnce() -> [u8; 16]) -> Self {
        let whole = !id.is_empty() && id.len() <= SHOWN_BYTES;
        Self {
            id: text::fixed(id),
            digest: if whole { [0; 16] } else { digest() },
        }
    }

    /// The key in two halves, as the flows of a connection hold it.
    pub fn halves(&self) -> [[u8; CLIENT_HALF_BYTES]; 2] {
        let mut halves = [[0; CLIENT_HALF_BYTES]; 2];
        let bytes = self.id.iter().map(|byte| byte.cast_unsigned());
        let all = bytes.chain(self.digest);
        for (half, byte) in halves.as_flattened_mut().iter_mut().zip(all) {
            *half = byte;
        }
        halves
    }

    pub fn from_halves(halves: &[[u8; CLIENT_HALF_BYTES]; 2]) -> Self {
        let mut key = Self {
            id: [0; SHOWN_BYTES + 1],
            digest: [0; 16],
        };
        let (id, digest) = halves.as_flattened().split_at(SHOWN_BYTES + 1);
        for (to, byte) in key.id.iter_mut().zip(id) {
            *to = byte.cast_signed();
        }
        key.digest.copy_from_slice(digest);
        key
    }
}

/// A value of the `CLIENTS` map.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientBinding {
    /// A number that no two sessions of these pins share.
    pub session: u64,
    /// When the broker accepted the client, in seconds of Unix time.
    pub since: u64,
    /// A key of the `BACKENDS` map.
    pub backend: u32,
    /// TCP port of the client.
    pub port: u16,
    /// In seconds, as the broker wants it, else as the client asked; 0 is none.
    pub keep_alive: u16,
    /// Address of the client.
    pub address: [u8; 16],
    /// Address that the client connected to.
    pub listener: [u8; 16],
    pub listener_port: u16,
    /// Protocol level of CONNECT: 3 is MQTT 3.1, 4 is 3.1.1, 5 is 5.0.
    pub protocol_level: u8,
    /// Clean Session or Clean Start: 1 where the client asked for it.
    pub clean_start: u8,
    /// Data path: see [`Path`].
    pub path: u8,
    pub reserved: [u8; 3],
    /// Bytes of the whole client id.
    pub id_bytes: u32,
    pub reserved_end: u32,
}

/// Who carries the bytes of a session.
#[repr(u8)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Path {
    /// The daemon reads and writes them.
    Copy = 1,
    /// The kernel rewrites packets; the daemon has no socket.
    Splice = 2,
    /// The kernel moves bytes between sockets of the daemon.
    Sockmap = 3,
}

impl Path {
    pub const fn label(self) -> &'static str {
        match self {
            Self::Copy => "copy",
            Self::Splice => "splice",
            Self::Sockmap => "sockmap",
        }
    }
}

shared!(ClientKey, 64);
shared!(ClientBinding, 72);

#[cfg(test)]
mod tests {
    use super::{ClientKey, SHOWN_BYTES};

    const LONG: [u8; SHOWN_BYTES + 1] = [b'x'; SHOWN_BYTES + 1];

    #[test]
    fn is_the_sum_of_its_halves() {
        let key = ClientKey::new(str::from_utf8(&LONG).unwrap(), || [7; 16]);

        assert_eq!(ClientKey::from_halves(&key.halves()), key);
        assert_eq!(key.halves()[0], [b'x'; 32]);
    }

    #[test]
    fn asks_for_a_digest_only_where_the_text_is_not_enough() {
        let long = str::from_utf8(&LONG).unwrap();

        assert_eq!(ClientKey::new("a", || [7; 16]).digest, [0; 16]);
        assert_eq!(ClientKey::new(&long[1..], || [7; 16]).digest, [0; 16]);
        assert_eq!(ClientKey::new("", || [7; 16]).digest, [7; 16]);
        assert_eq!(ClientKey::new(long, || [7; 16]).digest, [7; 16]);
    }
}
