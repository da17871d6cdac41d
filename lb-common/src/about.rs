//! Who wrote the pinned maps.

use crate::shared;

/// The only entry of the `ABOUT` map.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct About {
    /// [`crate::LAYOUT`] of the daemon that made the pins.
    pub layout: u32,
    /// Process id of the daemon that used them last.
    pub pid: u32,
    /// When that daemon started, in seconds of Unix time.
    pub since: u64,
    /// Its version, as text.
    pub version: [i8; 32],
}

shared!(About, 48);
