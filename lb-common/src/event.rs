//! What the kernel half tells the daemon of spliced connections, as it happens.
//!
//! Of one connection there are few: one for each limit in `LEAVING` that is reached, and two for
//! its end. So no peer can fill the ring by what it sends on a connection.

use crate::flow::FlowKey;
use crate::shared;

/// An entry of the `EVENTS` ring.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// The flow from the client.
    pub key: FlowKey,
    /// See the `EVENT_` constants.
    pub kind: u32,
    /// The session of that flow.
    pub session: u64,
    /// The end of what the sender has acknowledged, raw.
    pub acknowledgment: u32,
    pub reserved: u32,
}

/// The client has acknowledged all that is the daemon's socket's in `LEAVING`.
pub const EVENT_CLIENT_ACKNOWLEDGED: u32 = 1;
/// The broker has.
pub const EVENT_BROKER_ACKNOWLEDGED: u32 = 2;
/// The connection is closed.
pub const EVENT_CLOSED: u32 = 3;
/// Its addresses are in use again.
pub const EVENT_REPLACED: u32 = 4;

shared!(Event, 56);
