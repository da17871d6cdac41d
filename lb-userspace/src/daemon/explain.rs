//! Answers where a client would go, and who would move, without doing anything.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use lb_common::client::ClientKey;
use lb_common::text;
use tokio::time::Instant;

use crate::balance::{Balancer, Load, Subject};
use crate::control::explain::{Explanation, Question, Simulation, Skipped, Thought};
use crate::kernel::tables::Tables;
use crate::mqtt::Version;
use crate::route::Traits;
use crate::session::{self, World};
use crate::upstream::choose::Wish;
use crate::upstream::{Backend, Pool};

/// Ids that are made up where no client is there.
const MADE_UP: usize = 10_000;

/// # Errors
///
/// Why it has no answer.
pub(super) fn explain(world: &World, question: &Question) -> Result<Explanation, String> {
    let now = world.snapshot();
    let listener = match &question.listener {
        Some(name) => now.listener(name),
        None => now.listeners.first(),
    };
    let listener = listener.ok_or("there is no such listener")?;
    let version = match question.level {
        3 => Version::V3_1,
        4 => Version::V3_1_1,
        5 => Version::V5,
        level => return Err(format!("no version of MQTT has level {level}")),
    };
    let place = now.place(
        listener,
        &Traits {
            listener: &listener.name,
            server_name: question.sni.as_deref(),
            alpn: question.alpn.as_deref(),
            client_id: &question.client_id,
            user_name: question.user_name.as_deref(),
            version,
            clean_start: question.clean_start,
            source: question.source,
        },
    );
    let pool = place.pool;
    let recall = session::recall(pool, &question.client_id, world);
    let subject = Subject {
        client_id: &question.client_id,
        address: question.source,
    };
    let wish = if question.clean_start {
        Wish::Anew
    } else {
        Wish::Resume
    };
    let choice = pool.preview_choice(subject, recall.backend.as_deref(), wish, Instant::now());
    let candidates: Vec<String> = choice
        .candidates
        .iter()
        .map(|one| one.name.clone())
        .collect();
    let skipped = pool
        .backends
        .iter()
        .filter(|one| !candidates.contains(&one.name));
    Ok(Explanation {
        listener: listener.name.clone(),
        route: place.route.map(str::to_owned),
        pool: pool.name.clone(),
        remembered: recall.backend,
        because: choice.because.label().to_owned(),
        skipped: skipped.map(|backend| skip(backend)).collect(),
        candidates,
    })
}

fn skip(backend: &Backend) -> Skipped {
    let because = match backend.available() {
        Err(unavailable) => unavailable.label(),
        Ok(()) if backend.weight() == 0 => "weight 0",
        Ok(()) => "no further attempt",
    };
    Skipped {
        backend: backend.name.clone(),
        because: because.to_owned(),
    }
}

/// # Errors
///
/// Why it has no answer.
pub(super) fn simulate(
    world: &World,
    tables: Option<&Tables>,
    thought: &Thought,
) -> Result<Simulation, String> {
    let now = world.snapshot();
    let (pool, after) = match thought {
        Thought::Add {
            pool,
            backend,
            weight,
        } => add(&now.pools, pool.as_deref(), backend, *weight)?,
        Thought::Weigh { backend, weight } => weigh(&now.pools, backend, *weight)?,
    };
    if pool.balancer.goes_by_address() {
        let why = "goes by address, and where clients come from is not known here";
        return Err(format!("pool `{}` {why}", pool.name));
    }
    if !pool.balancer.goes_by_client() {
        let why = "does not go by client id, so that no client belongs to a backend";
        return Err(format!("pool `{}` {why}", pool.name));
    }
    let before = Arrangement {
        balancer: pool.balancer.clone(),
        loads: pool.loads(Instant::now()),
    };

    let mut ids = tables.map_or_else(Vec::new, |tables| clients_of(pool, tables));
    let of_clients = !ids.is_empty();
    if !of_clients {
        ids = (0..MADE_UP).map(|n| format!("device-{n}")).collect();
    }
    let mut moved = 0;
    for id in &ids {
        let remembered = session::recall(pool, id, world).backend;
        let home = |arrangement: &Arrangement| arrangement.home(pool, id, remembered.as_deref());
        let (Some(from), to) = (home(&before), home(&after)) else {
            let why =
                "has a client that no backend may have now, as all are down or at their bound";
            return Err(format!("pool `{}` {why}", pool.name));
        };
        moved += u64::from(to != Some(from));
    }
    Ok(Simulation {
        pool: pool.name.clone(),
        ids: ids.len() as u64,
        of_clients,
        moved,
    })
}

/// The backends of a pool, as they are or might be.
#[derive(Debug)]
struct Arrangement {
    balancer: Balancer,
    loads: Vec<Load>,
}

fn share(weight: u16) -> u32 {
    u32::from(weight.min(256)) * 1000
}

/// A pool, and what it would be with another backend.
fn add<'p>(
    pools: &'p [Arc<Pool>],
    name: Option<&str>,
    backend: &str,
    weight: u16,
) -> Result<(&'p Pool, Arrangement), String> {
    let pool = match (name, pools) {
        (Some(name), _) => pools.iter().find(|pool| pool.name == name),
        (None, [only]) => Some(only),
        (None, _) => return Err("there are several pools: name one by --pool".to_owned()),
    };
    let pool = pool.ok_or_else(|| format!("there is no pool `{}`", name.unwrap_or_default()))?;
    if pool.backends.iter().any(|one| one.name == backend) {
        let remedy = "say by --weight what another weight would do";
        return Err(format!(
            "pool `{}` has `{backend}` already: {remedy}",
            pool.name
        ));
    }
    let mut loads = pool.loads(Instant::now());
    loads.push(Load {
        share: share(weight),
        connections: 0,
    });
    let balancer = pool.balancer.with_member(backend);
    Ok((pool, Arrangement { balancer, loads }))
}

/// The pool of a backend, and what it would be if that had another weight.
fn weigh<'p>(
    pools: &'p [Arc<Pool>],
    backend: &str,
    weight: u16,
) -> Result<(&'p Pool, Arrangement), String> {
    let place = |pool: &Pool| pool.backends.iter().position(|one| one.name == backend);
    let found = pools.iter().find_map(|pool| Some((pool, place(pool)?)));
    let (pool, index) = found.ok_or_else(|| format!("there is no backend `{backend}`"))?;
    let mut loads = pool.loads(Instant::now());
    loads[index].share = share(weight);
    let balancer = pool.balancer.clone();
    Ok((pool, Arrangement { balancer, loads }))
}

impl Arrangement {
    /// The backend that a client has its session on, else belongs to.
    fn home(&self, pool: &Pool, id: &str, remembered: Option<&str>) -> Option<usize> {
        let its = pool
            .backends
            .iter()
            .position(|one| Some(one.name.as_str()) == remembered);
        let its = its.filter(|its| self.loads[*its].share > 0);
        its.or_else(|| {
            let subject = Subject {
                client_id: id,
                address: IpAddr::from(Ipv4Addr::UNSPECIFIED),
            };
            self.balancer.home(subject, &self.loads)
        })
    }
}

/// Ids of clients that are there; of those that are too long to be shown whole nothing is known.
fn clients_of(pool: &Pool, tables: &Tables) -> Vec<String> {
    let is_whole = |key: &ClientKey| key.digest == [0; 16];
    let is_here = |number| pool.backends.iter().any(|one| one.number == number);
    tables
        .clients()
        .filter(|(key, binding)| is_whole(key) && is_here(binding.backend))
        .map(|(key, _)| {
            let id: Vec<u8> = text::bytes(&key.id).collect();
            String::from_utf8_lossy(&id).into_owned()
        })
        .collect()
}
