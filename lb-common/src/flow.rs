//! Spliced connections: what the kernel half needs to carry a segment from one leg to the other.
//!
//! A connection has two legs, client and broker, and two flows, one for each direction. The flow of
//! a direction is found by the addresses a segment of it arrives with.

use crate::shared;

/// A key of the `FLOWS` map: the addresses of a segment as it arrives.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FlowKey {
    pub source: [u8; 16],
    pub destination: [u8; 16],
    pub source_port: u16,
    pub destination_port: u16,
}

/// A value of the `FLOWS` map.
///
/// The daemon writes everything once; after that the kernel half is the only writer, of the fields
/// from `packets` on by itself, of `interface` where the daemon asks for it by a [`Reroute`]. "Raw" numbers are those of the segment as it arrives.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flow {
    /// The addresses of the segment when it leaves.
    pub source: [u8; 16],
    pub destination: [u8; 16],
    pub source_port: u16,
    pub destination_port: u16,
    /// What is added to SEG.SEQ (RFC 9293), modulo 2^32.
    pub sequence_shift: u32,
    /// What is added to SEG.ACK and to the edges of SACK blocks.
    pub acknowledgment_shift: u32,
    /// What the change of addresses adds to a checksum: a ones' complement sum of words in memory
    /// order (RFC 1624, equation 3).
    pub address_change: u32,
    /// Index of the interface it leaves by.
    pub interface: u32,
    /// Bits to shift SEG.WND: left what the sender announced, right what we announced to the
    /// receiver (RFC 7323 section 2.2).
    pub window_left: u8,
    pub window_right: u8,
    /// See the `FLAG_` constants.
    pub flags: u8,
    pub reserved: u8,
    /// The session in `CLIENTS`.
    pub session: u64,
    /// Key in `BACKENDS`.
    pub backend: u32,
    /// Seconds without a segment of the client after which it is taken for lost; 0 is never.
    pub idle_seconds: u32,

    /// Segments carried; several that arrive as one super-packet count once.
    pub packets: u64,
    /// Bytes of payload carried.
    pub bytes: u64,
    /// When the last segment arrived, in nanoseconds of `CLOCK_MONOTONIC_COARSE`.
    pub last_seen: u64,
    /// The end of what the sender has sent, raw.
    pub highest_sequence: u32,
    /// The end of what the sender has acknowledged, raw.
    pub highest_acknowledgment: u32,
    /// See the `STATE_` constants.
    pub state: u32,
    /// Where the last gap in what was carried ended, raw; see [`STATE_GAP`].
    pub gap_end: u32,
    /// Half of the key in `CLIENTS`, the first in the flow from the client: where an end is noticed,
    /// the entry is found without a search. The tables' memory comes in sizes that leave room for it.
    pub client_half: [u8; CLIENT_HALF_BYTES],
}

/// Half of a [`crate::client::ClientKey`].
pub const CLIENT_HALF_BYTES: usize = size_of::<crate::client::ClientKey>() / 2;

/// The receiver did not agree to selective acknowledgments (RFC 2018): blank them.
pub const FLAG_NO_SACK: u8 = 1;
/// The sender is the client.
pub const FLAG_FROM_CLIENT: u8 = 2;
/// The broker keeps no session when the client goes: it asked for Clean Session, or Clean Start.
pub const FLAG_CLEAN: u8 = 4;

/// The sender has sent its FIN.
pub const STATE_FIN: u32 = 1;
/// The receiver has acknowledged that FIN.
pub const STATE_FIN_ACKNOWLEDGED: u32 = 2;
/// The other direction is in [`STATE_FIN`].
pub const STATE_PEER_FIN: u32 = 4;
/// Nothing more will come but retransmissions: both FINs are acknowledged, or a reset was carried.
pub const STATE_CLOSED: u32 = 8;
/// The client uses the addresses of this closed connection for another: it is not to be found.
pub const STATE_REPLACED: u32 = 32;
/// A segment was missing before one that was carried, lost or never sent: until the receiver has
/// acknowledged all up to the end of that gap, the end of what the sender has sent is not proven.
pub const STATE_GAP: u32 = 64;
/// The daemon still has a socket on the leg of the sender; see [`Leaving`].
pub const STATE_LEAVING: u32 = 16;

/// A value of the `LEAVING` map, with the key of the flow that the segments of a peer belong to: the
/// daemon still has a socket on this leg, which must learn of acknowledgments up to a point.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leaving {
    /// The end of what the socket has sent or will send, as the peer acknowledges it.
    pub until: u32,
    /// Whether the socket may send a FIN: 1 where the daemon has to pass one on.
    pub may_finish: u32,
}

/// A value of the `HANDSHAKES` map, with the key under which segments of the peer arrive.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Handshake {
    /// When its SYN passed, in nanoseconds of `CLOCK_MONOTONIC_COARSE`; 0 until it does.
    pub since: u64,
    /// The largest segment a broker says it takes (RFC 9293 section 3.7.1), in bytes; 0 until it does.
    pub mss: u32,
    /// What the daemon wants of a SYN that it is about to send: see the `OFFER_` constants.
    pub offer: u32,
}

/// No selective acknowledgments (RFC 2018), as the other leg has none.
pub const OFFER_NO_SACK: u32 = 1;

/// What the daemon asks of the program that gives flows another interface: a packet of these bytes
/// behind an Ethernet header of zeros.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reroute {
    pub key: FlowKey,
    /// Index of the interface it is to leave by.
    pub interface: u32,
    /// The session that has the key; another one is left alone.
    pub session: u64,
}

shared!(FlowKey, 36);
shared!(Flow, 144);
shared!(Handshake, 16);
shared!(Leaving, 8);
shared!(Reroute, 48);

impl FlowKey {
    /// The key of the other direction of the connection whose segments leave by `self` and `flow`.
    pub const fn reverse(flow: &Flow) -> Self {
        Self {
            source: flow.destination,
            destination: flow.source,
            source_port: flow.destination_port,
            destination_port: flow.source_port,
        }
    }
}

impl Reroute {
    /// All fields, as they lie in memory.
    pub fn bytes(&self) -> [u8; size_of::<Self>()] {
        let FlowKey {
            source,
            destination,
            source_port,
            destination_port,
        } = self.key;
        let mut bytes = [0; size_of::<Self>()];
        bytes[..16].copy_from_slice(&source);
        bytes[16..32].copy_from_slice(&destination);
        bytes[32..34].copy_from_slice(&source_port.to_ne_bytes());
        bytes[34..36].copy_from_slice(&destination_port.to_ne_bytes());
        bytes[36..40].copy_from_slice(&self.interface.to_ne_bytes());
        bytes[40..].copy_from_slice(&self.session.to_ne_bytes());
        bytes
    }
}

/// Whether `a` is after `b` in sequence space (RFC 9293 section 3.4).
pub const fn is_after(a: u32, b: u32) -> bool {
    a.wrapping_sub(b).cast_signed() > 0
}
