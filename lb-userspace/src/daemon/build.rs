//! From a configuration to what runs.

use std::collections::HashSet;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs as _, UdpSocket};
use std::sync::Arc;

use lb_common::flow::{Flow, FlowKey};
use tokio::time::Instant;

use super::Failure;
use super::plan::{Known, Plan};
use crate::admission::Admission;
use crate::admission::seats::Seats;
use crate::config::{self, Config, Host, HostPort};
use crate::counters::Counter;
use crate::kernel::conntrack;
use crate::kernel::flows::{flow_addresses, key_addresses};
use crate::kernel::grace::Grace;
use crate::kernel::ports::Ports;
use crate::kernel::sockmap::Sockmap;
use crate::kernel::tables::{Listening, Tables};
use crate::listen::tls::Tls;
use crate::registry::Registry;
use crate::session::{Endings, Lasting, Splicer, World};
use crate::sticky::Memory;
use crate::upstream::{Backend, Backends};

/// Session numbers go up by one; a restart continues above all that a faster clock could have used.
const SESSIONS_A_SECOND: u64 = 1 << 24;

/// What sessions share, and is there before them.
#[derive(Debug)]
pub(super) struct Shared {
    pub sockmap: Option<Arc<Sockmap>>,
    pub memory: Memory,
    pub admission: Arc<Admission>,
    /// How each listener ends TLS.
    pub tls: Vec<Option<Arc<Tls>>>,
}

/// The number of the first session of a daemon that started then.
pub(super) fn first_session(since: u64) -> u64 {
    since * SESSIONS_A_SECOND
}

pub(super) fn world(
    config: &Config,
    mut tables: Option<Tables>,
    Shared {
        sockmap,
        memory,
        admission,
        tls,
    }: Shared,
    since: u64,
    clock: fn() -> u64,
) -> Result<World, Failure> {
    check_sources(config)?;
    admission
        .seats
        .follow(config.limits.max_connections_per_source);
    let backends = Backends::default();
    let known = Known {
        addresses: addresses(config),
        numbers: numbers(config, tables.as_mut(), &backends)?,
        tls,
    };
    let plan = Plan::new(config, known, &backends, None);
    let snapshot = plan.apply(&backends);
    let splicer = tables
        .as_ref()
        .and_then(|tables| splicer(config, &backends, tables, &admission.seats));
    if let Some(tables) = &mut tables {
        for backend in backends.all() {
            if let Some((wanted, drain)) = tables.wanted(&backend) {
                backend.set_drain(drain);
                backend.want(wanted, Instant::now());
            }
            tables.count(&backend);
        }
    }
    let lasting = Lasting {
        backends,
        registry: Arc::new(Registry::new(tables, first_session(since))),
        memory,
        splicer,
        sockmap,
        admission,
        clock,
    };
    Ok(World::new(snapshot, lasting))
}

/// What it takes to splice; takes over the connections that are in the kernel already.
fn splicer(
    config: &Config,
    backends: &Backends,
    tables: &Tables,
    seats: &Seats,
) -> Option<Splicer> {
    let live: Vec<(FlowKey, Flow)> = tables.spliced().collect();
    let listed = tables.listed_backends();
    for (key, flow) in &live {
        let [client, listener] = key_addresses(key);
        seats.adopt(listener, client.ip().into());
        if let Some(backend) = backend_of(flow, backends, &listed) {
            backend.connections.add_one();
        }
    }
    let taken = live.iter().map(|(_, flow)| {
        let [source, broker] = flow_addresses(flow);
        ((source.ip(), broker), source.port())
    });
    match Grace::start() {
        Ok(grace) => Some(Splicer {
            grace: Arc::new(grace),
            ports: Arc::new(Ports::new(taken, &listening(config))),
            is_tracked: conntrack::is_in_use(),
            left: Counter::default(),
            aborted: Counter::default(),
            ended: Endings::default(),
        }),
        Err(error) => {
            tracing::warn!(%error, "without the splice path, which needs membarrier(2)");
            None
        }
    }
}

/// The backend of a connection that an earlier daemon spliced; one that the configuration has no more
/// is made from what is listed of it.
fn backend_of(
    flow: &Flow,
    backends: &Backends,
    listed: &[(u32, String, SocketAddr, u16)],
) -> Option<Arc<Backend>> {
    backends.by_number(flow.backend).or_else(|| {
        let (number, name, address, weight) =
            listed.iter().find(|(number, ..)| *number == flow.backend)?;
        let gone = Arc::new(Backend::new(*number, name, *address, *weight));
        gone.retire();
        backends.insert(&gone);
        Some(gone)
    })
}

/// Where clients connect.
pub(super) fn listeners(config: &Config) -> Vec<Listening> {
    let each = |listener: &config::Listener| {
        let may_splice = listener.may_splice();
        let at = move |address: &SocketAddr| Listening {
            address: *address,
            may_splice,
        };
        listener.bind.iter().map(at).collect::<Vec<_>>()
    };
    config.listeners.iter().flat_map(each).collect()
}

/// How each listener ends TLS.
pub(super) fn tls(config: &Config) -> Result<Vec<Option<Arc<Tls>>>, Failure> {
    config.listeners.iter().map(tls_of).collect()
}

pub(super) fn tls_of(listener: &config::Listener) -> Result<Option<Arc<Tls>>, Failure> {
    let loaded = listener.tls.as_ref().map(Tls::load).transpose();
    let loaded = loaded.map_err(|source| Failure::Tls {
        name: listener.name.clone(),
        source,
    })?;
    Ok(loaded.map(Arc::new))
}

/// Whether every address to connect from is one of this host.
pub(super) fn check_sources(config: &Config) -> Result<(), Failure> {
    for backend in config.pools.iter().flat_map(|pool| &pool.backends) {
        for address in &backend.source_addresses {
            UdpSocket::bind((*address, 0)).map_err(|source| Failure::Source {
                name: backend.name.clone(),
                address: *address,
                source,
            })?;
        }
    }
    Ok(())
}

/// Ports of listeners.
pub(super) fn listening(config: &Config) -> Vec<u16> {
    let addresses = config.listeners.iter().flat_map(|one| &one.bind);
    addresses.map(SocketAddr::port).collect()
}

/// The number of every backend: its own if it has one. At start no backend is there yet, and
/// connections in the kernel tell which numbers are in use.
pub(super) fn numbers(
    config: &Config,
    tables: Option<&mut Tables>,
    backends: &Backends,
) -> Result<Vec<u32>, Failure> {
    let names = config.pools.iter().flat_map(|pool| &pool.backends);
    let names: Vec<&str> = names.map(|backend| backend.name.as_str()).collect();
    let there = backends.all();
    if let Some(tables) = tables {
        let mut in_use: HashSet<u32> = there.iter().map(|backend| backend.number).collect();
        if there.is_empty() {
            in_use.extend(tables.spliced().map(|(_, flow)| flow.backend));
        }
        return Ok(tables.number(&names, &in_use)?);
    }
    let mut free = (0..).filter(|n| there.iter().all(|backend| backend.number != *n));
    let number = |name: &str| {
        let same = there.iter().find(|backend| backend.name == name);
        same.map(|backend| backend.number).or_else(|| free.next())
    };
    Ok(names.into_iter().filter_map(number).collect())
}

/// Where backends are.
fn addresses(config: &Config) -> Vec<SocketAddr> {
    let backends = config.pools.iter().flat_map(|pool| &pool.backends);
    let address = |backend: &config::Backend| {
        resolve(&backend.address).unwrap_or_else(|error| nowhere(backend, &error))
    };
    backends.map(address).collect()
}

/// For a backend whose name has no address: it is down until it has one, as a resolver may start later
/// than this daemon, and a name be made after its broker.
pub(super) fn nowhere(backend: &config::Backend, error: &io::Error) -> SocketAddr {
    let host = backend.address.to_string();
    tracing::warn!(backend = backend.name, host, %error, "no address yet");
    (Ipv4Addr::UNSPECIFIED, backend.address.port.get()).into()
}

fn resolve(address: &HostPort) -> io::Result<SocketAddr> {
    match &address.host {
        Host::Ip(ip) => Ok(SocketAddr::new(*ip, address.port.get())),
        Host::Name(name) => (name.as_str(), address.port.get())
            .to_socket_addrs()?
            .next()
            .ok_or_else(|| io::ErrorKind::NotFound.into()),
    }
}
