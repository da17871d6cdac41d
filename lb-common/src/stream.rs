//! Connections on the sockmap path: what the verdict program needs to move bytes between sockets.
//!
//! A connection has two streams, one for each direction. A stream is found by the cookie of the
//! socket that its bytes arrive at (`SO_COOKIE`). What the kernel half does not carry it passes: the
//! bytes stay in that socket, for the daemon to copy.

use crate::shared;

/// A value of the `STREAMS` map; only the daemon writes it.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stream {
    /// The cookie of the socket that the bytes leave by; a key of `SOCKETS`.
    pub to: u64,
    /// So many passed bytes the daemon has copied. While it is as many as were passed, nothing is
    /// left to copy, and bytes may be carried without overtaking any.
    pub copied: u64,
    /// The most that may lie in front of the receiver, in bytes; see [`SEGMENT_CHARGE`].
    pub limit: u32,
    pub reserved: u32,
}

/// A value of the `MOVED` map, with the key of the stream; only the kernel half writes it.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Moved {
    /// Bytes carried.
    pub carried: u64,
    /// Bytes passed.
    pub passed: u64,
    /// `passed` when `base` was last worked out.
    pub based_at: u64,
    /// What carried byte 0 would have for a number in the sequence space of the leaving socket.
    pub base: u32,
    /// The number of the next byte that arrives.
    pub next: u32,
    /// The low half of `carried` when the count of segments began anew.
    pub mark: u32,
    /// Segments carried since then, and between the two times before.
    pub segments: u32,
    pub segments_before: u32,
    /// See the `MOVED_` constants.
    pub state: u32,
}

/// The fields that take the first arrival to be known are set.
pub const MOVED_STARTED: u32 = 1;
/// Bytes were lost; the connection must not go on.
pub const MOVED_BROKEN: u32 = 2;

/// What a segment counts beside its payload while it waits for its receiver's socket, in bytes: the
/// kernel keeps it in buffers of its own, however short it is.
pub const SEGMENT_CHARGE: u32 = 2048;

/// `Stream::copied` before the daemon has copied everything for the first time.
pub const NOTHING_COPIED: u64 = u64::MAX;

shared!(Stream, 24);
shared!(Moved, 48);
