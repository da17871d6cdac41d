//! What a configuration makes of pools and listeners, before it counts.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;

use crate::balance::{Balancer, Member};
use crate::config::{self, Config, Rate};
use crate::kernel::route;
use crate::listen::SegmentLimit;
use crate::listen::tls::Tls;
use crate::session::{Listener, Route, Snapshot};
use crate::upstream::{Backend, Backends, Pool};

/// What a configuration makes of the world; nothing of it counts before `apply`.
#[derive(Debug)]
pub(super) struct Plan {
    snapshot: Snapshot,
    /// Every backend there will be, with its address and its weight.
    backends: Vec<(Arc<Backend>, SocketAddr, u16)>,
    /// What each of them is dialled from.
    sources: Vec<Vec<IpAddr>>,
    /// What each of them may take.
    rooms: Vec<(Option<NonZeroU32>, Option<Rate>)>,
    /// What clients of each listener will be told of segments, and how fast they may come.
    limits: Vec<(Option<i32>, Option<Rate>)>,
}

/// What to know before a plan, of each backend in the order of the configuration, and of listeners.
#[derive(Debug)]
pub(super) struct Known {
    pub addresses: Vec<SocketAddr>,
    pub numbers: Vec<u32>,
    /// How each listener ends TLS, in the order of the configuration.
    pub tls: Vec<Option<Arc<Tls>>>,
}

impl Plan {
    /// Backends and listeners go on as they are where they keep their names.
    pub(super) fn new(
        config: &Config,
        known: Known,
        backends: &Backends,
        before: Option<&Snapshot>,
    ) -> Self {
        let there = backends.all();
        let mut backends = known.numbers.into_iter().zip(known.addresses);
        let mut planned = Vec::new();
        let mut pools = Vec::new();
        for pool in &config.pools {
            let members = pool.backends.iter().zip(&mut backends);
            let members: Vec<_> = members
                .map(|(config, known)| member(config, known, &there))
                .collect();
            let backends = members.iter().map(|(backend, ..)| Arc::clone(backend));
            pools.push(Arc::new(make_pool(pool, backends.collect())));
            planned.extend(members);
        }
        let mut limits = Vec::new();
        let mut listeners = Vec::new();
        for (one, tls) in config.listeners.iter().zip(known.tls) {
            // The check of the configuration lets no listener without its pool through.
            let Some(pool) = pools.iter().find(|pool| pool.name == one.pool) else {
                continue;
            };
            let segment = if one.may_splice() {
                segment_limit(&reached(one, config, &pools), &planned)
            } else {
                None
            };
            limits.push((segment, one.connect_rate));
            let same = before.and_then(|before| before.listener(&one.name));
            listeners.push(listener(one, pool, tls, same));
        }
        let all = config.pools.iter().flat_map(|pool| &pool.backends);
        let rooms = all.map(|backend| (backend.max_connections, backend.connect_rate));
        Self {
            snapshot: Snapshot {
                limits: config.limits,
                listeners,
                routes: routes(config, &pools),
                pools,
            },
            backends: planned,
            sources: config
                .pools
                .iter()
                .flat_map(|pool| &pool.backends)
                .map(|backend| backend.source_addresses.clone())
                .collect(),
            rooms: rooms.collect(),
            limits,
        }
    }

    /// From now on backends are what was planned, and those that were not are gone.
    pub(super) fn apply(self, backends: &Backends) -> Snapshot {
        for gone in backends.all() {
            if !self.backends.iter().any(|(b, ..)| Arc::ptr_eq(b, &gone)) {
                gone.retire();
            }
        }
        let each = self.backends.iter().zip(&self.sources).zip(&self.rooms);
        for (((backend, address, weight), sources), (most, rate)) in each {
            backend.sources.set(sources);
            backend.change(*address, *weight);
            backend.limit(*most, *rate);
            backends.insert(backend);
        }
        for (listener, (segment, rate)) in self.snapshot.listeners.iter().zip(&self.limits) {
            listener.segment_limit.reset(*segment);
            listener.gate.set_rate(*rate);
        }
        self.snapshot
    }
}

fn member(
    config: &config::Backend,
    (number, address): (u32, SocketAddr),
    there: &[Arc<Backend>],
) -> (Arc<Backend>, SocketAddr, u16) {
    let weight = config.weight;
    let same = there
        .iter()
        .find(|backend| backend.name == config.name && backend.number == number);
    let backend = same.map_or_else(
        || Arc::new(Backend::new(number, &config.name, address, weight)),
        Arc::clone,
    );
    (backend, address, weight)
}

fn make_pool(config: &config::Pool, backends: Vec<Arc<Backend>>) -> Pool {
    let member = |backend: &config::Backend| Member {
        name: backend.name.clone(),
        tier: backend.tier,
    };
    let members: Vec<Member> = config.backends.iter().map(member).collect();
    Pool {
        name: config.name.clone(),
        balancer: Balancer::new(config.balance, config.load_bound, &members),
        backends,
        dial_timeout: config.dial_timeout,
        connack_timeout: config.connack_timeout,
        attempts: config.attempts,
        retry_on: config.retry_on.clone(),
        proxy_protocol: config.proxy_protocol,
        slow_start: config.slow_start,
        health: config.health.clone(),
        hosts: config
            .backends
            .iter()
            .map(|backend| backend.address.clone())
            .collect(),
        dns_interval: config.dns_interval,
        sticky: config.sticky,
    }
}

fn listener(
    config: &config::Listener,
    pool: &Arc<Pool>,
    tls: Option<Arc<Tls>>,
    same: Option<&Listener>,
) -> Listener {
    Listener {
        name: config.name.clone(),
        addresses: config.bind.clone(),
        pool: Arc::clone(pool),
        datapath: config.datapath,
        tls,
        versions: config.versions.clone(),
        max_connections: config.max_connections,
        gate: same.map_or_else(Arc::default, |same| Arc::clone(&same.gate)),
        segment_limit: same.map_or_else(
            || Arc::new(SegmentLimit::new(None)),
            |same| Arc::clone(&same.segment_limit),
        ),
        accepted: same.map_or_else(Arc::default, |same| Arc::clone(&same.accepted)),
    }
}

/// The largest segment that every backend of these pools can be sent, in bytes of payload, as far as
/// this host knows the way to it.
fn segment_limit(pools: &[&Arc<Pool>], planned: &[(Arc<Backend>, SocketAddr, u16)]) -> Option<i32> {
    let is_among = |backend: &Arc<Backend>| {
        let mut all = pools.iter().flat_map(|pool| &pool.backends);
        all.any(|one| Arc::ptr_eq(one, backend))
    };
    let among = planned.iter().filter(|(backend, ..)| is_among(backend));
    let largest = among.filter_map(|(_, address, _)| route::largest_segment(*address).ok());
    i32::try_from(largest.min()?).ok()
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
