//! What the kernel knows and counts of each address that clients connect to.

use crate::shared;

/// A key of the `LISTENERS` map; the unspecified address stands for all of its family.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ListenerKey {
    pub address: [u8; 16],
    /// TCP port, 1 to 65535.
    pub port: u32,
}

/// A value of the `LISTENERS` map.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ListenerRecord {
    /// TCP segments with SYN and without ACK that arrived for it.
    pub syns: u64,
    /// Whether its connections may be spliced: 1, or 0.
    pub may_splice: u32,
    pub reserved: u32,
}

shared!(ListenerKey, 20);
shared!(ListenerRecord, 16);
