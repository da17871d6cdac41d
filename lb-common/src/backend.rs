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
    /// Sessions open, written about once a second.
    pub connections: u64,
    /// While it drains, when all its connections are to have ended, in seconds of Unix time; 0 is no
    /// matter when.
    pub drain_until: u64,
    /// While it drains, connections that are ended each second.
    pub drain_pace: u32,
    pub reserved: u32,
}

/// Whether a backend takes clients.
#[repr(u32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// No longer in the configuration.
    Gone = 0,
    Up = 1,
    /// Checks or clients found that it does not serve.
    Down = 2,
    /// No new clients; those that it has are moved.
    Draining = 3,
    /// No new clients.
    Disabled = 4,
}

impl State {
    pub const fn label(self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Up => "up",
            Self::Down => "down",
            Self::Draining => "draining",
            Self::Disabled => "disabled",
        }
    }

    pub const ALL: [Self; 5] = [
        Self::Gone,
        Self::Up,
        Self::Down,
        Self::Draining,
        Self::Disabled,
    ];
}

shared!(BackendRecord, 80);
