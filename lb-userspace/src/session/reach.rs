//! A backend that takes the client: the one that has its session, else one that the balancer chose.

use std::iter;
use std::sync::Arc;

use lb_common::sticky::StickyKey;
use lb_common::text;
use tokio::time::Instant;

use super::World;
use super::admit::Patience;
use super::open::{self, Introduction, Opened};
use super::refuse::Refused;
use crate::balance::Subject;
use crate::config::StickyClients;
use crate::dial::Shape;
use crate::mqtt::Version;
use crate::mqtt::connack::First;
use crate::mqtt::connect::Connect;
use crate::sticky;
use crate::upstream::choose::{Because, Choice, Wish};
use crate::upstream::{Backend, Expected, Pool};

/// What is remembered of a client in a pool.
#[derive(Debug)]
pub struct Recall {
    /// None where nobody, or no one without an id, is remembered.
    key: Option<StickyKey>,
    /// The name of the backend, where there is one.
    pub backend: Option<String>,
    /// Whether it stays as it is, wherever the client is served this time.
    stays: bool,
}

/// Looks up what is remembered.
pub fn recall(pool: &Pool, client_id: &str, world: &World) -> Recall {
    let key = pool.sticky.and_then(|_| sticky::key(&pool.name, client_id));
    let record = pool.sticky.zip(key).and_then(|(sticky, key)| {
        let now = (world.clock)();
        world.memory.recall(&key, sticky.expire, now)
    });
    let name = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Recall {
        key,
        backend: record.map(|record| name(text::bytes(&record.backend).collect())),
        stays: false,
    }
}

/// The first backend that takes the client.
pub(super) async fn reach<'a>(
    introduction: &Introduction<'_>,
    subject: Subject<'_>,
    pool: &'a Pool,
    world: &World,
    shape: impl Fn() -> Option<Shape<'a>> + Copy,
    mut patience: Patience<'_>,
) -> Result<(Opened, Expected, Recall), Refused> {
    let connect = introduction.connect;
    let mut recall = recall(pool, connect.client_id(), world);
    let now = Instant::now();
    let choice = pool.choose(subject, recall.backend.as_deref(), wish(connect), now);
    let held = |backend: Option<&String>| {
        world.memory.held.add(1);
        Refused::Held {
            backend: backend.cloned().unwrap_or_default(),
            version: connect.version(),
        }
    };
    let Choice {
        because,
        candidates,
    } = choice;
    tracing::debug!(because = because.label(), "chosen");
    recall.stays = because == Because::Elsewhere;
    let (opened, expected) = match (because, candidates.first()) {
        (Because::Held, _) => return Err(held(recall.backend.as_ref())),
        (Because::Kept, Some(its)) => {
            match open::first(iter::once(*its), introduction, pool, shape, &mut patience).await {
                Err(Refused::NoBackend { .. }) => {
                    its.is_missed(Instant::now());
                    return Err(held(recall.backend.as_ref()));
                }
                // It wants the client to go elsewhere, and knows best; or its last place was taken just now.
                Err(refused @ (Refused::ByBackends { .. } | Refused::BackendsFull { .. })) => {
                    recall.stays |= matches!(refused, Refused::BackendsFull { .. });
                    let others = pool.candidates(subject, Instant::now());
                    let others = others.filter(|other| !Arc::ptr_eq(other, its));
                    let other = open::first(others, introduction, pool, shape, &mut patience).await;
                    other.map_err(|error| {
                        if matches!(error, Refused::NoBackend { .. }) {
                            refused
                        } else {
                            error
                        }
                    })?
                }
                opened => opened?,
            }
        }
        _ => open::first(
            candidates.into_iter(),
            introduction,
            pool,
            shape,
            &mut patience,
        )
        .await
        .map_err(|refused| or_full(refused, pool))?,
    };
    opened.backend.is_reached();
    if recall.is_with(&opened.backend) {
        world.memory.followed.add(1);
    }
    Ok((opened, expected, recall))
}

/// A pool that would have a place if one of its backends had fewer clients is full.
fn or_full(refused: Refused, pool: &Pool) -> Refused {
    if let Refused::NoBackend {
        pool: name,
        version,
    } = &refused
        && pool.has_full()
    {
        return Refused::BackendsFull {
            pool: name.clone(),
            version: *version,
        };
    }
    refused
}

/// Remembers where the client has its session, if that outlives the connection.
pub(super) fn remember(
    recall: &Recall,
    pool: &Pool,
    connect: &Connect,
    opened: &Opened,
    session: u64,
    world: &World,
) {
    let assigned = match &opened.first {
        First::Connack(connack) => connack.assigned_client_id.as_deref(),
        First::Auth => None,
    };
    let assigned = assigned.and_then(|id| sticky::key(&pool.name, id));
    let (Some(sticky), Some(key)) = (pool.sticky, assigned.or(recall.key)) else {
        return;
    };
    if recall.stays {
        return;
    }
    if sticky.clients == StickyClients::All || outlives(connect) {
        world.memory.learn(&key, &opened.backend.name, session);
    } else if wish(connect) == Wish::Anew && recall.is_with(&opened.backend) {
        // The broker has dropped the session for which the client was remembered.
        world.memory.forget(&key);
    }
}

impl Recall {
    fn is_with(&self, backend: &Backend) -> bool {
        self.backend.as_ref() == Some(&backend.name)
    }
}

pub(super) fn wish(connect: &Connect) -> Wish {
    if connect.clean_start() {
        Wish::Anew
    } else {
        Wish::Resume
    }
}

/// Whether the client asks for a session that outlives its connection [MQTT-3.1.2-4],
/// [MQTT5-3.1.2-11.2].
fn outlives(connect: &Connect) -> bool {
    match connect.version() {
        Version::V3_1 | Version::V3_1_1 => !connect.clean_start(),
        Version::V5 => connect.session_expiry().is_some_and(|seconds| seconds > 0),
    }
}
