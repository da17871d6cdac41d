//! From a configuration to what runs.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::num::NonZeroUsize;
use std::sync::Arc;

use lb_common::flow::Flow;

use super::{Failure, worker};
use crate::balance::{Balancer, Member};
use crate::config::{self, Config, DataPath, Host, HostPort};
use crate::counters::Counter;
use crate::kernel::conntrack;
use crate::kernel::flows::flow_addresses;
use crate::kernel::grace::Grace;
use crate::kernel::ports::Ports;
use crate::kernel::route;
use crate::kernel::tables::Tables;
use crate::listen::{self, SegmentLimit, Sharing};
use crate::registry::Registry;
use crate::session::{Endings, Lasting, Listener, Route, Snapshot, Splicer, World};
use crate::upstream::{Backend, Backends, Pool};

/// Session numbers go up by one; a restart continues above all that a faster clock could have used.
const SESSIONS_A_SECOND: u64 = 1 << 24;

/// Listening sockets for each thread.
///
/// Threads share an address, so another process of the same user could share it as well; binding it
/// alone first finds that out.
pub(super) fn sockets(
    config: &Config,
    threads: NonZeroUsize,
) -> Result<Vec<worker::Sockets>, Failure> {
    for_each_address(config, |address| {
        listen::bind(address, Sharing::Alone).map(drop)
    })?;
    (0..threads.get())
        .map(|_| {
            for_each_address(config, |address| {
                listen::bind(address, Sharing::BetweenThreads)
            })
        })
        .collect()
}

/// The largest segment that every backend of these pools can be sent, in bytes of payload, as far as
/// this host knows the way to it.
fn segment_limit(pools: &[&Arc<Pool>]) -> Option<i32> {
    let largest = |backend: &Arc<Backend>| route::largest_segment(backend.address()).ok();
    let backends = pools.iter().flat_map(|pool| &pool.backends);
    let limit = backends.filter_map(largest).min()?;
    i32::try_from(limit).ok()
}

/// Pairs what `bind` makes of every address with the name of its listener.
fn for_each_address<T>(
    config: &Config,
    bind: impl Fn(SocketAddr) -> io::Result<T>,
) -> Result<Vec<(String, T)>, Failure> {
    let mut made = Vec::new();
    for listener in &config.listeners {
        for address in &listener.bind {
            let one = bind(*address).map_err(|source| Failure::Bind {
                name: listener.name.clone(),
                address: *address,
                source,
            })?;
            made.push((listener.name.clone(), one));
        }
    }
    Ok(made)
}

pub(super) fn world(
    config: &Config,
    mut tables: Option<Tables>,
    since: u64,
    clock: fn() -> u64,
) -> Result<World, Failure> {
    let backends = Backends::default();
    let pools = pools(config, tables.as_mut(), &backends)?;
    if let Some(tables) = &mut tables {
        pools
            .iter()
            .flat_map(|pool| &pool.backends)
            .for_each(|backend| tables.count(backend));
    }
    let listeners = config
        .listeners
        .iter()
        .filter_map(|listener| {
            // The check of the configuration lets no listener without its pool through.
            let pool = pools.iter().find(|pool| pool.name == listener.pool)?;
            Some(Listener {
                name: listener.name.clone(),
                addresses: listener.bind.clone(),
                pool: Arc::clone(pool),
                datapath: listener.datapath,
                segment_limit: Arc::new(SegmentLimit::new(match listener.datapath {
                    DataPath::Auto => segment_limit(&reached(listener, config, &pools)),
                    DataPath::Copy => None,
                })),
                accepted: Arc::default(),
            })
        })
        .collect();
    let splicer = match &mut tables {
        Some(tables) => splicer(config, &pools, &backends, tables)?,
        None => None,
    };
    let snapshot = Snapshot {
        limits: config.limits,
        listeners,
        routes: routes(config, &pools),
        pools,
    };
    let lasting = Lasting {
        backends,
        registry: Arc::new(Registry::new(tables, since * SESSIONS_A_SECOND)),
        splicer,
        clock,
    };
    Ok(World::new(snapshot, lasting))
}

/// The pools that clients of a listener may come to.
fn reached<'p>(
    listener: &config::Listener,
    config: &Config,
    pools: &'p [Arc<Pool>],
) -> Vec<&'p Arc<Pool>> {
    let routed = config
        .routes
        .iter()
        .filter(|route| route.listeners.is_empty() || route.listeners.contains(&listener.name));
    let names: Vec<&String> = routed
        .map(|route| &route.pool)
        .chain([&listener.pool])
        .collect();
    pools
        .iter()
        .filter(|pool| names.contains(&&pool.name))
        .collect()
}

fn routes(config: &Config, pools: &[Arc<Pool>]) -> Vec<Route> {
    let route = |rule: &config::Route| {
        // The check of the configuration lets no route without its pool through.
        let pool = pools.iter().find(|pool| pool.name == rule.pool)?;
        Some(Route {
            rule: rule.clone(),
            pool: Arc::clone(pool),
        })
    };
    config.routes.iter().filter_map(route).collect()
}

/// What it takes to splice; takes over the connections that are in the kernel already.
fn splicer(
    config: &Config,
    pools: &[Arc<Pool>],
    backends: &Backends,
    tables: &mut Tables,
) -> Result<Option<Splicer>, Failure> {
    let configured = pools.iter().flat_map(|pool| &pool.backends);
    let addresses: Vec<SocketAddr> = configured.map(|backend| backend.address()).collect();
    tables.set_brokers(&addresses)?;
    let ours: Vec<u16> = config
        .listeners
        .iter()
        .flat_map(|listener| listener.bind.iter().map(SocketAddr::port))
        .collect();
    let live: Vec<Flow> = tables.spliced().map(|(_, flow)| flow).collect();
    for flow in &live {
        if let Some(backend) = backends.by_number(flow.backend) {
            backend.connections.add_one();
            tables.count(&backend);
        }
    }
    let taken = live.iter().map(|flow| {
        let [source, broker] = flow_addresses(flow);
        ((source.ip(), broker), source.port())
    });
    match Grace::start() {
        Ok(grace) => Ok(Some(Splicer {
            grace: Arc::new(grace),
            ports: Arc::new(Ports::new(taken, &ours)),
            is_tracked: conntrack::is_in_use(),
            left: Counter::default(),
            aborted: Counter::default(),
            ended: Endings::default(),
        })),
        Err(error) => {
            tracing::warn!(%error, "without the splice path, which needs membarrier(2)");
            Ok(None)
        }
    }
}

fn pools(
    config: &Config,
    tables: Option<&mut Tables>,
    backends: &Backends,
) -> Result<Vec<Arc<Pool>>, Failure> {
    let names: Vec<&str> = config
        .pools
        .iter()
        .flat_map(|pool| pool.backends.iter().map(|backend| backend.name.as_str()))
        .collect();
    let mut numbers = match tables {
        Some(tables) => tables.number(&names)?,
        None => (0..).take(names.len()).collect(),
    }
    .into_iter();
    config
        .pools
        .iter()
        .map(|config| {
            let pool = pool(config, &mut numbers)?;
            pool.backends
                .iter()
                .for_each(|backend| backends.insert(backend));
            Ok(Arc::new(pool))
        })
        .collect()
}

fn pool(config: &config::Pool, numbers: &mut impl Iterator<Item = u32>) -> Result<Pool, Failure> {
    let member = |backend: &config::Backend| Member {
        name: backend.name.clone(),
        tier: backend.tier,
    };
    let members: Vec<Member> = config.backends.iter().map(member).collect();
    let backends = config
        .backends
        .iter()
        .zip(numbers)
        .map(|(config, number)| backend(config, number).map(Arc::new))
        .collect::<Result<_, _>>()?;
    Ok(Pool {
        name: config.name.clone(),
        balancer: Balancer::new(config.balance, config.load_bound, &members),
        backends,
        dial_timeout: config.dial_timeout,
        connack_timeout: config.connack_timeout,
        attempts: config.attempts,
        retry_on: config.retry_on.clone(),
        slow_start: config.slow_start,
    })
}

fn backend(config: &config::Backend, number: u32) -> Result<Backend, Failure> {
    let address = resolve(&config.address).map_err(|source| Failure::Address {
        name: config.name.clone(),
        host: config.address.to_string(),
        source,
    })?;
    Ok(Backend::new(number, &config.name, address, config.weight))
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
