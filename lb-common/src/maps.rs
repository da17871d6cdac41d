//! The name of every map and program, once.

pub const ABOUT: &str = "ABOUT";
pub const BACKENDS: &str = "BACKENDS";
pub const CLIENTS: &str = "CLIENTS";
pub const EVENTS: &str = "EVENTS";
pub const FLOWS: &str = "FLOWS";
pub const HANDSHAKES: &str = "HANDSHAKES";
pub const LEAVING: &str = "LEAVING";
pub const LISTENERS: &str = "LISTENERS";
pub const REASONS: &str = "REASONS";
pub const STICKY: &str = "STICKY";

/// The maps that are pinned under the directory of the configuration.
pub const PINNED: [&str; 10] = [
    ABOUT, BACKENDS, CLIENTS, EVENTS, FLOWS, HANDSHAKES, LEAVING, LISTENERS, REASONS, STICKY,
];

/// The program at the ingress of every interface.
pub const INGRESS: &str = "sluice_ingress";
/// The program at the egress of every interface.
pub const EGRESS: &str = "sluice_egress";
/// The program that gives flows another interface; it is attached nowhere.
pub const REROUTE: &str = "sluice_reroute";

/// The most backends, those no longer configured included.
pub const BACKENDS_CAPACITY: u32 = 4096;
/// Bytes of the ring of events; each takes 64.
pub const EVENTS_BYTES: u32 = 1 << 20;
/// The handshakes that are remembered until they are asked for; the oldest are forgotten first.
pub const HANDSHAKES_CAPACITY: u32 = 1 << 16;
/// The most connections that are on their way into the kernel at one time, both legs of each.
pub const LEAVING_CAPACITY: u32 = 1 << 17;
/// The most addresses that are listened on.
pub const LISTENERS_CAPACITY: u32 = 1024;

/// The maps of the sockmap path. They are not pinned: they end with the sockets in them.
pub const CONGESTED: &str = "CONGESTED";
pub const MOVED: &str = "MOVED";
pub const SOCKETS: &str = "SOCKETS";
pub const STREAMS: &str = "STREAMS";

/// The program that sees what arrives at a socket of the sockmap path.
pub const VERDICT: &str = "sluice_verdict";

/// The most streams on the sockmap path, two for each connection.
pub const STREAMS_CAPACITY: u32 = 1 << 17;
/// Bytes for news of streams without room; each stream has at most one item of 16 bytes there.
pub const CONGESTED_BYTES: u32 = STREAMS_CAPACITY * 16;

/// Constants of the verdict program that the loader fills in, from the types of the kernel: where
/// fields are, in bytes from the beginning of `struct tcp_sock`.
pub const COPIED_SEQ_AT: &str = "COPIED_SEQ_AT";
pub const WRITE_SEQ_AT: &str = "WRITE_SEQ_AT";
pub const WMEM_QUEUED_AT: &str = "WMEM_QUEUED_AT";
