//! Which backend a client is to come back to.

use crate::client::ClientKey;
use crate::shared;

/// A key of the `STICKY` map.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StickyKey {
    pub client: ClientKey,
    /// A hash of the name of the pool, in which the id has its meaning.
    pub pool: u64,
}

/// A value of the `STICKY` map.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StickyRecord {
    /// Name of the backend in the configuration.
    pub backend: [i8; 32],
    /// The client's last session, as `CLIENTS` and `FLOWS` number it.
    pub session: u64,
    /// When that was found to have ended, in seconds of Unix time; 0 while it is open.
    pub ended: u64,
}

shared!(StickyKey, 72);
shared!(StickyRecord, 48);
