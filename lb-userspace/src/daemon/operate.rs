//! Does what an operator asks of backends and pools.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::time::Instant;

use crate::balance::Load;
use crate::control::Reply;
use crate::control::operate::Change;
use crate::evict::{Because, Order, Whom, share};
use crate::session::World;
use crate::upstream::{Backend, Drain, Pool, Unavailable, Wanted};

/// Why something cannot be done.
#[derive(Debug, Error)]
enum Impossible {
    #[error("no backend is called `{name}`; there are {known}")]
    NoBackend { name: String, known: String },
    #[error("no pool is called `{name}`; there are {known}")]
    NoPool { name: String, known: String },
    #[error("backend `{name}` is draining; take that back with `sluice undrain {name}`")]
    Draining { name: String },
    #[error("backend `{name}` is not disabled")]
    NotDisabled { name: String },
    #[error("backend `{name}` is not draining")]
    NotDraining { name: String },
}

/// Does it, and says so.
pub(super) fn answer(world: &World, change: &Change) -> Reply {
    match operate(world, change) {
        Ok(said) => Reply::Done(said),
        Err(impossible) => Reply::Error(impossible.to_string()),
    }
}

/// A line for each backend.
fn operate(world: &World, change: &Change) -> Result<Vec<String>, Impossible> {
    match change {
        Change::Disable { backend } => disable(world, backend),
        Change::Drain {
            backend,
            pace,
            within,
        } => drain(world, backend, *pace, *within),
        Change::Enable { backend } => enable(world, backend),
        Change::Rebalance { pool, pace } => rebalance(world, pool.as_deref(), *pace),
        Change::Undrain { backend } => undrain(world, backend),
    }
}

/// Goes on with what was asked of a former daemon.
pub(super) fn resume(world: &World) {
    for (_, backend) in backends(world) {
        if backend.wanted() == Wanted::Draining {
            order_drain(world, &backend);
        }
    }
}

fn disable(world: &World, name: &str) -> Result<Vec<String>, Impossible> {
    let (pool, backend) = find(world, name)?;
    if backend.wanted() == Wanted::Draining {
        let name = name.to_owned();
        return Err(Impossible::Draining { name });
    }
    want(world, &backend, Wanted::Disabled);
    let connections = backend.connections.value();
    let mut said = vec![format!(
        "{name} gets no new clients; its {connections} connections stay"
    )];
    said.extend(warn_of_last(&pool));
    Ok(said)
}

fn enable(world: &World, name: &str) -> Result<Vec<String>, Impossible> {
    let (_, backend) = find(world, name)?;
    if backend.wanted() != Wanted::Disabled {
        let name = name.to_owned();
        return Err(Impossible::NotDisabled { name });
    }
    want(world, &backend, Wanted::Serving);
    Ok(vec![serves(&backend)])
}

fn drain(
    world: &World,
    name: &str,
    pace: NonZeroU32,
    within: Option<u64>,
) -> Result<Vec<String>, Impossible> {
    let (pool, backend) = find(world, name)?;
    backend.set_drain(Drain {
        pace,
        until: within.map(|seconds| (world.clock)().saturating_add(seconds)),
    });
    want(world, &backend, Wanted::Draining);
    order_drain(world, &backend);
    let connections = backend.connections.value();
    let mut said = vec![format!(
        "{name} gets no new clients; its {connections} connections end, {pace} a second"
    )];
    said.extend(warn_of_last(&pool));
    Ok(said)
}

fn order_drain(world: &World, backend: &Arc<Backend>) {
    let Drain { pace, until } = backend.drain();
    let now = (world.clock)();
    world.evictions.order(Order {
        backend: Arc::clone(backend),
        because: Because::Drained,
        whom: Whom::All,
        pace,
        within: until.map(|until| Duration::from_secs(until.saturating_sub(now))),
    });
}

fn undrain(world: &World, name: &str) -> Result<Vec<String>, Impossible> {
    let (_, backend) = find(world, name)?;
    if backend.wanted() != Wanted::Draining {
        let name = name.to_owned();
        return Err(Impossible::NotDraining { name });
    }
    world.evictions.cancel(&backend, Because::Drained);
    want(world, &backend, Wanted::Serving);
    Ok(vec![serves(&backend)])
}

fn rebalance(
    world: &World,
    name: Option<&str>,
    pace: NonZeroU32,
) -> Result<Vec<String>, Impossible> {
    let pools = &world.snapshot().pools;
    let chosen: Vec<&Arc<Pool>> = pools
        .iter()
        .filter(|pool| name.is_none_or(|name| pool.name == name))
        .collect();
    match name.filter(|_| chosen.is_empty()) {
        None => {}
        Some(name) => {
            return Err(Impossible::NoPool {
                name: name.to_owned(),
                known: list(pools.iter().map(|pool| pool.name.as_str())),
            });
        }
    }
    let rebalance = |pool: &Arc<Pool>| {
        let mut said = rebalance_pool(world, pool, pace);
        said.extend(warn_of_memory(pool));
        said
    };
    Ok(chosen.into_iter().flat_map(rebalance).collect())
}

fn rebalance_pool(world: &World, pool: &Arc<Pool>, pace: NonZeroU32) -> Vec<String> {
    let loads = pool.balancer.serving(&pool.loads(Instant::now()));
    let all = pool.backends.iter().zip(loads);
    let taking: Vec<(&Arc<Backend>, Load)> = all
        .filter(|(backend, _)| backend.available().is_ok())
        .collect();
    let Pool { name, .. } = &**pool;
    if taking.len() < 2 {
        return vec![format!(
            "{name}: nothing to do, since fewer than two of its backends take clients"
        )];
    }
    let before = world.registry.next_session();
    let order = |backend: &Arc<Backend>, whom| {
        world.evictions.order(Order {
            backend: Arc::clone(backend),
            because: Because::Rebalanced,
            whom,
            pace,
            within: None,
        });
    };
    if pool.balancer.goes_by_client() {
        for (backend, _) in taking {
            let pool = Arc::clone(pool);
            order(backend, Whom::Strays { pool, before });
        }
        return vec![format!(
            "{name}: clients that belong to another of its backends are moved there, {pace} a second"
        )];
    }
    let has: Vec<(u64, u64)> = taking
        .iter()
        .map(|(_, load)| (load.connections, load.share.into()))
        .collect();
    let mut said = Vec::new();
    for ((backend, load), keep) in taking.into_iter().zip(share::fair(&has)) {
        let connections = load.connections;
        let most = connections.saturating_sub(keep);
        if most > 0 {
            order(backend, Whom::Excess { most, keep, before });
            said.push(format!(
                "{}: {most} of its {connections} connections end, {pace} a second",
                backend.name
            ));
        }
    }
    if said.is_empty() {
        said.push(format!("{name}: no backend has more than its share"));
    }
    said
}

/// An operator should know that some only lose their connection for a moment.
fn warn_of_memory(pool: &Pool) -> Option<String> {
    let name = &pool.name;
    pool.sticky
        .is_some()
        .then(|| format!("{name}: clients that it remembers come back to where they were"))
}

fn want(world: &World, backend: &Arc<Backend>, wanted: Wanted) {
    backend.want(wanted, Instant::now());
    world.registry.with_tables(|tables| tables.count(backend));
    tracing::info!(backend = backend.name, ?wanted, "as the operator asked");
}

fn serves(backend: &Backend) -> String {
    let name = &backend.name;
    match backend.available() {
        Ok(()) => format!("{name} takes clients"),
        Err(Unavailable::Down | Unavailable::Failing) => {
            format!("{name} takes clients as soon as it answers")
        }
        Err(Unavailable::Full) => format!("{name} takes clients as soon as it has room"),
        Err(Unavailable::Disabled | Unavailable::Draining | Unavailable::Gone) => {
            format!("{name} takes no clients")
        }
    }
}

/// An operator should know that clients have nowhere else to go.
fn warn_of_last(pool: &Pool) -> Option<String> {
    let mut backends = pool.backends.iter();
    let is_last = !backends.any(|backend| backend.available().is_ok());
    is_last.then(|| {
        format!(
            "no backend of pool {} takes clients now: they are refused",
            pool.name
        )
    })
}

fn find(world: &World, name: &str) -> Result<(Arc<Pool>, Arc<Backend>), Impossible> {
    let all = backends(world);
    let found = all.iter().find(|(_, backend)| backend.name == name);
    found.cloned().ok_or_else(|| Impossible::NoBackend {
        name: name.to_owned(),
        known: list(all.iter().map(|(_, backend)| backend.name.as_str())),
    })
}

fn backends(world: &World) -> Vec<(Arc<Pool>, Arc<Backend>)> {
    let pools = &world.snapshot().pools;
    let of = |pool: &Arc<Pool>| {
        let backends = pool.backends.iter();
        backends
            .map(|backend| (Arc::clone(pool), Arc::clone(backend)))
            .collect::<Vec<_>>()
    };
    pools.iter().flat_map(of).collect()
}

fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let quoted: Vec<String> = names.map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}
