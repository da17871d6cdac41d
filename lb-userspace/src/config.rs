//! What the daemon believes: a configuration in which invalid states do not exist.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::num::{NonZeroU16, NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use network::Network;
use pattern::Pattern;

use crate::mqtt::Version;
use crate::mqtt::not_me::NotMe;

pub mod check;
pub mod complaint;
pub mod default;
pub mod diff;
pub mod file;
pub mod health;
pub mod network;
pub mod pattern;
pub mod tls;
pub mod units;
pub mod why;

pub use health::Health;
pub use tls::{Certificate, Tls};

/// One whole configuration, as `check` lets it through.
///
/// Names are 1 to 31 bytes of printable ASCII without spaces. Timeouts are 10 ms to 1 h.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    pub daemon: Daemon,
    pub kernel: Kernel,
    pub limits: Limits,
    /// At least one; names are unique, and no two addresses overlap.
    pub listeners: Vec<Listener>,
    /// At least one; names are unique.
    pub pools: Vec<Pool>,
    /// The first that matches counts; names are unique.
    pub routes: Vec<Route>,
}

impl Config {
    /// Every file it names: certificates, keys, and who signs those of clients.
    pub fn files(&self) -> Vec<PathBuf> {
        let tls = self.listeners.iter().filter_map(|one| one.tls.as_ref());
        tls.flat_map(Tls::files).cloned().collect()
    }
}

/// The process itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Daemon {
    /// Threads that accept and relay, 1 to 1024; `None` is one for each CPU the process may use.
    pub threads: Option<NonZeroUsize>,
    /// The Unix socket that `sluice status` talks to; an absolute path of at most 107 bytes.
    pub control: PathBuf,
    /// A filter in the syntax of `tracing_subscriber::EnvFilter`.
    pub log: String,
    pub log_format: LogFormat,
    /// Reload when the file changes, or one that it names.
    pub watch_config: bool,
    /// How long a daemon that is replaced carries the connections it has.
    pub drain_timeout: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    Json,
    Text,
}

/// What may be asked of the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kernel {
    pub mode: KernelMode,
    pub attach: Attach,
    /// A directory on a bpf file system, from the root; everything pinned lives below it.
    pub pins: PathBuf,
    /// Entries of the client table, and connections in the flow table; 1 to 2^24.
    pub clients_capacity: u32,
    /// Entries of the table of clients that come back to their backend; 1 to 2^24.
    pub sticky_capacity: u32,
    /// Interfaces to attach to, each once, 1 to 15 bytes; `None` is every one that is up.
    pub interfaces: Option<Vec<String>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KernelMode {
    /// Use what can be loaded; name what cannot.
    Auto,
    /// Never touch it.
    Off,
    /// Do not start without it.
    Required,
}

/// How programs are put on interfaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attach {
    /// By tcx where the kernel has it, else by clsact.
    Auto,
    Clsact,
    Tcx,
}

/// The first bytes of a CONNECT, which are not counted; most are no longer.
pub const PENDING_FREE_BYTES: usize = 512;
/// What is counted for a TLS session before its CONNECT is whole.
pub const TLS_BYTES: usize = 16 * 1024;

/// Bounds on what clients may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The longest CONNECT, fixed header included; 64 B to 1 MiB.
    pub connect_packet_bytes: usize,
    /// From accept to the last byte of CONNECT.
    pub connect_timeout: Duration,
    /// What may lie in front of a receiver on the sockmap path; 64 KiB to 64 MiB.
    pub sockmap_queue_bytes: u32,
    /// Clients in all, from their CONNECT to their close; `None` is no limit.
    pub max_connections: Option<NonZeroU32>,
    /// The same for one source: an IPv4 address, or the first 64 bits of an IPv6 one.
    pub max_connections_per_source: Option<NonZeroU32>,
    /// Connections without a whole CONNECT; `None` is derived from the limit of open files.
    pub pending_connects: Option<NonZeroU32>,
    /// The same for one source; `None` is half of `pending_connects`.
    pub pending_connects_per_source: Option<NonZeroU32>,
    /// What all of them may hold beyond `PENDING_FREE_BYTES` each; there is room for the longest CONNECT.
    pub pending_bytes: usize,
    /// How long a CONNECT may wait where a rate is set.
    pub queue_timeout: Duration,
    /// How often one client id may connect from one source; `None` is no limit.
    pub connects_per_client: Option<Rate>,
    /// How long a client may be late, on top of one and a half times its keep alive; at most 1 h.
    pub idle_margin: Duration,
    /// The silence that ends a client without keep alive, 1 s to 1 year; `None` is never.
    pub idle_without_keep_alive: Option<Duration>,
}

/// So many in a time; 1 to 1,000,000 in a second, a minute or an hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    pub count: NonZeroU32,
    pub per: Duration,
}

/// Addresses where clients connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    pub name: String,
    /// At least one. An IPv6 address takes IPv6 clients only.
    pub bind: Vec<SocketAddr>,
    /// The name of a pool that exists.
    pub pool: String,
    pub datapath: DataPath,
    /// None where clients speak plain MQTT.
    pub tls: Option<Tls>,
    /// Clients at a time, from their CONNECT to their close; `None` is no limit.
    pub max_connections: Option<NonZeroU32>,
    /// How fast CONNECTs are let through; `None` is no limit.
    pub connect_rate: Option<Rate>,
    /// Who is served; at least one, each once.
    pub versions: Vec<Version>,
}

impl Listener {
    /// Whether any of its clients may be left to the kernel, packet by packet.
    pub fn may_splice(&self) -> bool {
        let is_wished = matches!(self.datapath, DataPath::Auto | DataPath::Splice);
        is_wished && self.tls.is_none()
    }
}

/// Which data path the operator wants for established connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataPath {
    /// The fastest that is eligible.
    Auto,
    /// Read and written by the daemon.
    Copy,
    /// Moved between the daemon's sockets by the kernel.
    Sockmap,
    /// Left to the kernel, packet by packet.
    Splice,
}

/// Clients that go to another pool than that of their listener; an empty list is every value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    pub name: String,
    /// The name of a pool that exists.
    pub pool: String,
    /// Names of listeners that exist.
    pub listeners: Vec<String>,
    /// In lower case.
    pub server_names: Vec<Pattern>,
    pub alpn: Vec<String>,
    pub client_ids: Vec<Pattern>,
    pub user_names: Vec<Pattern>,
    pub versions: Vec<Version>,
    pub clean: Clean,
    pub sources: Vec<Network>,
}

/// Clients that give up the session they may have had, or not, or both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clean {
    Any,
    No,
    Yes,
}

/// Brokers that may serve the same clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    pub name: String,
    pub balance: Balance,
    /// What tells a backend who its client is.
    pub proxy_protocol: ProxyProtocol,
    /// For one TCP connect to a backend.
    pub dial_timeout: Duration,
    /// From CONNECT sent to the first whole packet of the backend.
    pub connack_timeout: Duration,
    /// Backends tried for one client before it is refused; 1 to 100.
    pub attempts: NonZeroUsize,
    /// Answers of a backend after which the next one is tried; each once.
    pub retry_on: Vec<NotMe>,
    /// In percent of its fair part of all connections, 101 to 1000: the most that a hash gives to one
    /// backend while others have less.
    pub load_bound: Option<NonZeroU16>,
    /// How long a backend that comes back takes to get its whole share; zero is at once.
    pub slow_start: Duration,
    pub health: Health,
    /// Between two look-ups of the DNS names of its backends.
    pub dns_interval: Duration,
    /// None where clients are not remembered.
    pub sticky: Option<Sticky>,
    /// At least one; names are unique in all pools.
    pub backends: Vec<Backend>,
}

/// A header ahead of what a client sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyProtocol {
    None,
    V1,
    /// Without fields beyond the addresses.
    V2,
}

/// How clients come back to the backend that has their session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sticky {
    pub clients: StickyClients,
    /// From the end of a client's session; 1 s to a year.
    pub expire: Duration,
    /// How long a client is kept for a backend that is away; zero is not at all.
    pub hold: Duration,
}

/// Who is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StickyClients {
    All,
    /// Those whose session outlives their connection.
    Persistent,
}

/// How the first choice for a client is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Balance {
    /// Consistent hash of the client id; of the client's address where the id is empty.
    ClientId,
    /// In the order of the file.
    First,
    /// The fewest connections for its weight.
    LeastConnections,
    /// Two drawn by weight, and of these the one with fewer connections for its weight.
    Random,
    /// In turn, by weight.
    RoundRobin,
    /// Consistent hash of the client's address.
    Source,
}

/// Whether a backend is used at all times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tier {
    Primary,
    /// Only where no primary backend of the pool can be used.
    Backup,
}

/// An MQTT broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backend {
    /// Fits a field of the `BACKENDS` map.
    pub name: String,
    /// No address of a listener, as far as that is known without a resolver.
    pub address: HostPort,
    /// 0 to 256; 0 gets no new client by balancing.
    pub weight: u16,
    pub tier: Tier,
    /// Addresses of this host, of the family of `address` where that is one; none is what the route says.
    pub source_addresses: Vec<IpAddr>,
    /// Clients at a time; `None` is no limit.
    pub max_connections: Option<NonZeroU32>,
    /// How fast it is sent CONNECTs; `None` is no limit.
    pub connect_rate: Option<Rate>,
}

/// An IP address or a DNS name, with a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    pub host: Host,
    /// 1 to 65535.
    pub port: NonZeroU16,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    Ip(IpAddr),
    Name(String),
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Ip(ip) => SocketAddr::new(*ip, self.port.get()).fmt(f),
            Host::Name(name) => write!(f, "{name}:{}", self.port),
        }
    }
}
