//! Answers where a client would go, and who would move, without doing anything.

use std::net::{IpAddr, Ipv4Addr};

use lb_common::client::ClientKey;
use lb_common::text;
use tokio::time::Instant;

use crate::balance::{Load, Subject};
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
    let place = |pool: &Pool| {
        pool.backends
            .iter()
            .position(|one| one.name == thought.backend)
    };
    let found = now.pools.iter().find_map(|pool| Some((pool, place(pool)?)));
    let (pool, index) =
        found.ok_or_else(|| format!("there is no backend `{}`", thought.backend))?;
    if pool.balancer.goes_by_address() {
        let why = "goes by address, and where clients come from is not known here";
        return Err(format!("pool `{}` {why}", pool.name));
    }
    let before = pool.loads(Instant::now());
    let mut after = before.clone();
    after[index].share = u32::from(thought.weight.min(256)) * 1000;

    let mut ids = tables.map_or_else(Vec::new, |tables| clients_of(pool, tables));
    let of_clients = !ids.is_empty();
    if !of_clients {
        ids = (0..MADE_UP).map(|n| format!("device-{n}")).collect();
    }
    let mut moved = 0;
    for id in &ids {
        let remembered = session::recall(pool, id, world).backend;
        let home = |loads: &[Load]| home(pool, id, remembered.as_deref(), loads);
        let (Some(from), to) = (home(&before), home(&after)) else {
            let why = "does not go by client id, so that no client belongs to a backend";
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

/// The backend that a client has its session on, else belongs to.
fn home(pool: &Pool, id: &str, remembered: Option<&str>, loads: &[Load]) -> Option<usize> {
    let its = pool
        .backends
        .iter()
        .position(|one| Some(one.name.as_str()) == remembered);
    let its = its.filter(|its| loads[*its].share > 0);
    its.or_else(|| {
        let subject = Subject {
            client_id: id,
            address: IpAddr::from(Ipv4Addr::UNSPECIFIED),
        };
        pool.balancer.home(subject, loads)
    })
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
