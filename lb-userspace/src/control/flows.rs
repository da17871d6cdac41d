//! What `sluice flows` tells of each connection in the kernel; the JSON of `--json` is these types.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// One connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// The number in `CLIENTS` and `FLOWS`.
    pub session: u64,
    /// As far as the table shows it; none where the client is not listed.
    pub client_id: Option<String>,
    pub client: SocketAddr,
    /// Our address toward the client.
    pub listener: SocketAddr,
    /// None where it is no longer configured.
    pub backend: Option<String>,
    pub broker: SocketAddr,
    /// Our address toward the broker.
    pub source: SocketAddr,
    pub state: State,
    /// Seconds of silence of the client that end the connection; 0 is never.
    pub idle_limit: u32,
    pub from_client: Direction,
    pub from_broker: Direction,
}

/// How far a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The daemon still has its sockets.
    Leaving,
    Open,
    /// One end has sent its FIN.
    HalfClosed,
    /// Kept for a moment, for what may be sent again.
    Closed,
}

/// What one end has sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Direction {
    pub packets: u64,
    pub bytes: u64,
    /// Seconds since the last of them.
    pub silent_for: u64,
}

/// Which connections to show.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filter {
    pub client_id: Option<String>,
    pub backend: Option<String>,
}

impl Filter {
    pub fn admits(&self, row: &Row) -> bool {
        let same = |wanted: &Option<String>, is: &Option<String>| wanted.is_none() || wanted == is;
        same(&self.client_id, &row.client_id) && same(&self.backend, &row.backend)
    }
}
