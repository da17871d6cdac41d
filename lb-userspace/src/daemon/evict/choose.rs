//! Looks at all connections of some backends, and puts those in a row that are to end next.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use lb_common::client::{ClientBinding, ClientKey, Path, SHOWN_BYTES};
use lb_common::flow::{FLAG_CLEAN, Flow, FlowKey, STATE_CLOSED};
use lb_common::text;
use tokio::task;
use tokio::time::Instant;

use crate::balance::Subject;
use crate::evict::Whom;
use crate::evict::rank::{First, Kept, Rank};
use crate::kernel::flows::now;
use crate::kernel::tables::Tables;
use crate::registry::carried::Sight;
use crate::session::World;
use crate::upstream::Pool;

/// Connections that are chosen in one look, for all orders together.
const CHOSEN: usize = 16 * 1024;
/// Entries looked at before others of this thread have their turn.
const BATCH: usize = 1024;

/// A connection that is to end soon.
#[derive(Debug)]
pub(super) struct Chosen {
    pub who: Who,
    pub last_seen: Duration,
    /// It has talked since it was chosen, and goes after those that have not.
    pub is_put_off: bool,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Who {
    Copied { session: u64 },
    Spliced { key: FlowKey, session: u64 },
}

/// One look, for the backends that somebody is to be chosen of.
pub(super) struct Look<'a> {
    now: Duration,
    wanted: HashMap<u32, (&'a Whom, First<Chosen>)>,
}

impl<'a> Look<'a> {
    pub(super) fn of(orders: impl Iterator<Item = (u32, &'a Whom)>) -> Self {
        let orders: HashMap<u32, &Whom> = orders.collect();
        let room = CHOSEN / orders.len().max(1);
        let with_room = |(backend, whom)| (backend, (whom, First::new(room)));
        Self {
            now: now(),
            wanted: orders.into_iter().map(with_room).collect(),
        }
    }

    /// Those who go first, by backend.
    pub(super) async fn run(
        mut self,
        world: &World,
        tables: Option<&Tables>,
    ) -> HashMap<u32, VecDeque<Chosen>> {
        self.look_at_carried(world);
        if let Some(tables) = tables {
            self.look_at_flows(tables).await;
            self.look_for_strays(world, tables).await;
        }
        let row = |(backend, (_, first)): (u32, (_, First<Chosen>))| {
            (backend, first.into_row().collect())
        };
        self.wanted.into_iter().map(row).collect()
    }

    fn look_at_carried(&mut self, world: &World) {
        let now = self.now;
        for (backend, (whom, first)) in &mut self.wanted {
            if matches!(whom, Whom::Strays { .. }) {
                continue;
            }
            world.registry.carried.of_backend(*backend, |sight| {
                if whom.may_be(sight.number) {
                    offer_carried(first, now, &sight);
                }
            });
        }
    }

    async fn look_at_flows(&mut self, tables: &Tables) {
        let is_stray = |whom: &Whom| matches!(whom, Whom::Strays { .. });
        if self.wanted.values().all(|(whom, _)| is_stray(whom)) {
            return;
        }
        for (n, (key, up)) in tables.spliced().enumerate() {
            if n % BATCH == 0 {
                task::yield_now().await;
            }
            if let Some((whom, first)) = self.wanted.get_mut(&up.backend)
                && !is_stray(whom)
                && whom.may_be(up.session)
            {
                offer_flow(first, self.now, key, &up);
            }
        }
    }

    /// By `CLIENTS`, since the choice of a backend depends on the client.
    async fn look_for_strays(&mut self, world: &World, tables: &Tables) {
        if !self
            .wanted
            .values()
            .any(|(whom, _)| matches!(whom, Whom::Strays { .. }))
        {
            return;
        }
        for (n, (client, binding)) in tables.clients().enumerate() {
            if n % BATCH == 0 {
                task::yield_now().await;
            }
            let Some((Whom::Strays { pool, before }, first)) =
                self.wanted.get_mut(&binding.backend)
            else {
                continue;
            };
            if binding.session >= *before || !is_stray(pool, &client, &binding) {
                continue;
            }
            if binding.path == Path::Copy as u8 {
                if let Some(sight) = world.registry.carried.sight(binding.session) {
                    offer_carried(first, self.now, &sight);
                }
            } else {
                let key = flow_key(&binding);
                let flow = tables.flow(&key);
                if let Some(up) = flow.filter(|up| up.session == binding.session) {
                    offer_flow(first, self.now, key, &up);
                }
            }
        }
    }
}

/// Whether a client belongs to another backend of the pool now.
///
/// Of an id that is longer than what `CLIENTS` shows this cannot be told, and its client stays.
fn is_stray(pool: &Pool, client: &ClientKey, binding: &ClientBinding) -> bool {
    let id: Vec<u8> = text::bytes(&client.id).collect();
    let Ok(id) = str::from_utf8(&id) else {
        return false;
    };
    let is_whole = usize::try_from(binding.id_bytes).is_ok_and(|bytes| bytes <= SHOWN_BYTES);
    let subject = Subject {
        client_id: id,
        address: IpAddr::from(binding.address).to_canonical(),
    };
    let home = pool.home(subject, Instant::now());
    is_whole && home.is_some_and(|home| home.number != binding.backend)
}

fn flow_key(binding: &ClientBinding) -> FlowKey {
    FlowKey {
        source: binding.address,
        destination: binding.listener,
        source_port: binding.port,
        destination_port: binding.listener_port,
    }
}

fn offer_carried(first: &mut First<Chosen>, now: Duration, sight: &Sight) {
    let session = sight.number;
    first.offer(
        Rank::new(now.saturating_sub(sight.last_seen), sight.kept),
        Chosen {
            who: Who::Copied { session },
            last_seen: sight.last_seen,
            is_put_off: false,
        },
    );
}

fn offer_flow(first: &mut First<Chosen>, now: Duration, key: FlowKey, up: &Flow) {
    if !is_open(up) {
        return;
    }
    let kept = if up.flags & FLAG_CLEAN == 0 {
        Kept::Session
    } else {
        Kept::Nothing
    };
    let session = up.session;
    // Whatever the broker sends, the client acknowledges: it is silent only where both are.
    let last_seen = Duration::from_nanos(up.last_seen);
    first.offer(
        Rank::new(now.saturating_sub(last_seen), kept),
        Chosen {
            who: Who::Spliced { key, session },
            last_seen,
            is_put_off: false,
        },
    );
}

/// One that is closed is left to the sweep.
pub(super) fn is_open(flow: &Flow) -> bool {
    flow.state & STATE_CLOSED == 0
}
