//! What `sluice status` tells; the JSON of `--json` is these types.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::reload::Reload;

/// The daemon at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    pub version: String,
    pub pid: u32,
    /// In seconds of Unix time.
    pub since: u64,
    pub threads: usize,
    pub kernel: Kernel,
    pub datapath: DataPath,
    /// What is not as good as it could be, and how to mend it.
    pub downgrades: Vec<String>,
    pub listeners: Vec<Listener>,
    pub backends: Vec<Backend>,
    pub admission: Admission,
    /// Clients turned away.
    pub refused: Vec<Counted>,
    /// Connections by the reason for their data path.
    pub choices: Vec<Chosen>,
    /// Connections ended that could have gone on, by why.
    pub evicted: Vec<Counted>,
    /// What is remembered of clients.
    pub sticky: Sticky,
    /// The connections in the kernel, where that is possible.
    pub splice: Option<Splice>,
    /// The connections whose bytes the kernel moves between sockets, where that is possible.
    pub sockmap: Option<Sockmap>,
    /// Carried by the daemon.
    pub bytes: Bytes,
    /// The last one there was.
    pub reload: Option<Reload>,
}

/// The kernel half.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kernel {
    pub loaded: bool,
    /// The interfaces it is attached to.
    pub interfaces: Vec<String>,
    /// Where its maps, programs and links are pinned.
    pub pins: Option<String>,
    /// Sessions that are not listed in `CLIENTS`, since it was full.
    pub unlisted: u64,
}

/// How established connections travel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataPath {
    pub path: String,
    pub because: String,
}

/// How many clients there are, and how many there may be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Admission {
    /// The limit of open files.
    pub descriptors: u64,
    /// Clients that sent a CONNECT and have not gone, in the kernel too.
    pub clients: u64,
    /// None is no limit.
    pub clients_limit: Option<u32>,
    /// Those whose sockets the daemon has.
    pub in_daemon: u64,
    pub in_daemon_limit: u64,
    /// Connections without a whole CONNECT.
    pub pending: usize,
    pub pending_limit: usize,
    pub pending_limit_per_source: usize,
    /// What is held of CONNECTs that no broker has yet, but for the first 512 bytes of each.
    pub pending_bytes: usize,
    pub pending_bytes_limit: usize,
    /// Refused clients that were not given time to read why.
    pub hurried: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    pub name: String,
    pub addresses: Vec<SocketAddr>,
    pub pool: String,
    /// Whether TLS ends here.
    pub tls: bool,
    /// When the first of its certificates expires, in seconds of Unix time.
    pub certificate_expires: Option<u64>,
    /// Connections accepted since the daemon started.
    pub accepted: u64,
    /// Clients that came in here, from their CONNECT to their close.
    pub connections: u64,
    /// Clients that wait for their turn.
    pub waiting: usize,
    /// SYNs the kernel half has seen since it was pinned.
    pub syns: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backend {
    /// None where the configuration has the backend no more, and connections of it are still open.
    pub pool: Option<String>,
    pub name: String,
    pub address: SocketAddr,
    pub weight: u16,
    /// `up`, `down`, `draining` or `disabled`.
    pub state: String,
    /// Since when its health is what it is, in seconds of Unix time; nothing if it never changed.
    pub state_since: Option<u64>,
    /// What was found last that was not right, where that is not over.
    pub trouble: Option<String>,
    /// Its key in the `BACKENDS` map.
    pub number: u32,
    /// Sessions open now.
    pub connections: u64,
    /// Source ports for connections in the kernel; none where no connection gets there.
    pub ports: Option<Ports>,
    /// How many there may be; none is no limit.
    pub connections_limit: Option<u32>,
    /// Clients that wait for their turn.
    pub waiting: usize,
    /// Sessions opened since the daemon started.
    pub opened: u64,
    /// Attempts after which another backend was tried, or none was left.
    pub failed: u64,
    /// The same by reason.
    pub passed_over: Vec<Counted>,
}

/// Source ports toward a backend, of all the addresses it is dialled from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ports {
    pub free: usize,
    pub all: usize,
}

/// Connections whose data path was chosen for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chosen {
    /// `splice`, `sockmap` or `copy`.
    pub path: String,
    pub because: String,
    pub count: u64,
}

/// Clients that come back to their backend; all but `entries` since the daemon started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sticky {
    /// Clients that are remembered.
    pub entries: u64,
    /// That went where they had been.
    pub followed: u64,
    /// That were remembered, or remembered anew.
    pub learned: u64,
    /// That were refused while their backend was away.
    pub held: u64,
    /// That found no room.
    pub full: u64,
}

/// Connections that the kernel carries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Splice {
    /// Connections that left the daemon since it started.
    pub left: u64,
    /// Connections that were reset on their way.
    pub aborted: u64,
    /// Connections that ended in the kernel, by how.
    pub ended: Vec<Counted>,
    /// What the kernel half did beside carrying and passing, by reason, since it was pinned.
    pub packets: Vec<Counted>,
}

/// Connections on the sockmap path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sockmap {
    /// There are now; they end with the daemon.
    pub connections: u64,
    /// Bytes that the kernel moved, of connections that have ended.
    pub moved: Bytes,
    /// Times that a sender was held back, since its receiver had no room.
    pub held_back: u64,
    /// Connections that were reset, since they could not go on.
    pub aborted: u64,
}

/// How often something happened for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    pub reason: String,
    pub count: u64,
}

/// Bytes since the daemon started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bytes {
    pub from_clients: u64,
    pub from_brokers: u64,
    /// Connections on the copy path whose client was silent for too long.
    pub idle: u64,
}
