//! The brokers, as the kernel and bpftool see them.

use crate::shared;

/// A value of the `BACKENDS` map; its key is a number that a name keeps.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackendRecord {
    /// Name in the configuration.
    pub name: [i8; 32],
    pub address: [u8; 16],
    pub port: u16,
    /// 0 to 256.
    pub weight: u16,
    /// See [`State`].
    pub state: u32,
    /// Sessions open now.
    pub connections: u64,
}

/// Whether a backend takes clients.
#[repr(u32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// No longer in the configuration.
    Gone = 0,
    Up = 1,
}

shared!(BackendRecord, 64);
