//! Carries out the orders to end connections, one after the other at their pace.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use lb_common::flow::FlowKey;
use tokio::time;

mod choose;

use choose::{Chosen, Look, Who, is_open};

use super::sweep::{give_back, spent};
use crate::evict::pace::{Pace, gap};
use crate::evict::{Because, Order, Whom};
use crate::kernel::flows::now;
use crate::kernel::sweep::{Ended, Removed, tell};
use crate::kernel::tables::Tables;
use crate::session::World;

/// Between two looks, where the one before found nothing or little.
const PAUSE: Duration = Duration::from_millis(250);
/// At most one part in so many of a processor is spent looking.
const SHARE: u32 = 4;
/// Between two moments at which connections end.
const TICK: Duration = Duration::from_millis(5);

/// An order while it is carried out.
struct Work {
    order: Arc<Order>,
    pace: Pace,
    /// When all is to be over, in time of `CLOCK_MONOTONIC`.
    deadline: Option<Duration>,
    /// Ended so far.
    ended: u64,
    chosen: VecDeque<Chosen>,
    /// A look has found nobody else.
    is_over: bool,
}

/// What became of the connection that was to end.
enum Outcome {
    Ended,
    /// It had ended, or is only on its way into the kernel: the next look finds it again.
    Gone,
    Talked(Duration),
}

/// Carries out what is ordered for as long as the daemon runs.
pub(super) async fn forever(world: &World, tables: Option<&Tables>) {
    let mut works: Vec<Work> = Vec::new();
    let mut next_look = Duration::ZERO;
    loop {
        works = follow(world, works);
        if !works.iter().any(|work| work.remaining() > 0) {
            rest(world, !works.is_empty()).await;
            continue;
        }
        if now() >= next_look && works.iter().any(Work::is_without) {
            let before = spent();
            look(world, tables, &mut works).await;
            next_look = now() + PAUSE.max((spent() - before) * SHARE);
        }
        for work in &mut works {
            work.end_due(world, tables);
        }
        time::sleep(TICK).await;
    }
}

/// Until there is something to do: connections that come late are noticed after a while.
async fn rest(world: &World, is_ordered: bool) {
    let late = async {
        if is_ordered {
            time::sleep(PAUSE).await;
        } else {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = world.evictions.changed() => {}
        () = late => {}
    }
}

/// The orders that stand now, and how far each has come.
fn follow(world: &World, mut works: Vec<Work>) -> Vec<Work> {
    let standing = world.evictions.standing();
    let work = |order: Arc<Order>| {
        let known = works
            .iter()
            .position(|work| Arc::ptr_eq(&work.order, &order));
        known.map_or_else(|| Work::new(order), |at| works.swap_remove(at))
    };
    let works: Vec<Work> = standing.into_iter().map(work).collect();
    for done in works.iter().filter(|work| work.is_done()) {
        world.evictions.finish(&done.order);
    }
    works
}

/// Chooses who goes next, for all orders that have nobody.
async fn look(world: &World, tables: Option<&Tables>, works: &mut [Work]) {
    let without = works.iter().filter(|work| work.is_without());
    let orders = without.map(|work| (work.order.backend.number, &work.order.whom));
    let mut rows = Look::of(orders).run(world, tables).await;
    for work in works.iter_mut().filter(|work| work.is_without()) {
        if let Some(row) = rows.remove(&work.order.backend.number) {
            work.is_over = row.is_empty() && !matches!(work.order.whom, Whom::All);
            work.chosen = row;
        }
    }
}

impl Work {
    fn new(order: Arc<Order>) -> Self {
        let now = now();
        let backend = u64::from(order.backend.number);
        tracing::info!(
            backend = order.backend.name,
            because = order.because.label(),
            connections = order.backend.connections.value(),
            pace = order.pace,
            "ending connections"
        );
        Self {
            deadline: order.within.map(|within| now + within),
            // Two backends, or two daemons, are not to be in step.
            pace: Pace::new(backend ^ u64::from(now.subsec_nanos())),
            ended: 0,
            chosen: VecDeque::new(),
            is_over: false,
            order,
        }
    }

    /// How many are still to end, as far as is known now.
    fn remaining(&self) -> u64 {
        let connections = self.order.backend.connections.value();
        match self.order.whom {
            Whom::All => connections,
            Whom::Excess { .. } | Whom::Strays { .. } if self.is_over => 0,
            Whom::Excess { most, keep, .. } => most
                .saturating_sub(self.ended)
                .min(connections.saturating_sub(keep)),
            // As many at most.
            Whom::Strays { .. } => connections,
        }
    }

    fn is_done(&self) -> bool {
        let goes_on = matches!(self.order.whom, Whom::All) && !self.order.backend.is_gone();
        !goes_on && self.remaining() == 0
    }

    fn is_without(&self) -> bool {
        self.chosen.is_empty() && self.remaining() > 0
    }

    fn end_due(&mut self, world: &World, tables: Option<&Tables>) {
        let now = now();
        loop {
            let remaining = self.remaining();
            if remaining == 0 || self.chosen.is_empty() {
                return;
            }
            let left = self.deadline.map(|deadline| deadline.saturating_sub(now));
            if !self.pace.take(now, gap(self.order.pace, remaining, left)) {
                return;
            }
            self.end_one(world, tables);
        }
    }

    /// Ends the first of the row that can be ended.
    fn end_one(&mut self, world: &World, tables: Option<&Tables>) {
        while let Some(chosen) = self.chosen.pop_front() {
            match chosen.end(world, tables, self.order.because) {
                Outcome::Ended => {
                    self.ended += 1;
                    world.evictions.count(self.order.because);
                    return;
                }
                Outcome::Gone => {}
                Outcome::Talked(last_seen) => self.chosen.push_back(Chosen {
                    last_seen,
                    is_put_off: true,
                    ..chosen
                }),
            }
        }
    }
}

impl Chosen {
    fn end(&self, world: &World, tables: Option<&Tables>, because: Because) -> Outcome {
        match self.who {
            Who::Copied { session } => self.end_copied(world, session, because),
            Who::Spliced { key, session } => tables.map_or(Outcome::Gone, |tables| {
                self.end_spliced(world, tables, key, session)
            }),
        }
    }

    fn end_copied(&self, world: &World, session: u64, because: Because) -> Outcome {
        let carried = &world.registry.carried;
        match carried.sight(session) {
            Some(sight) if self.has_talked(sight.last_seen) => Outcome::Talked(sight.last_seen),
            Some(_) if carried.tell(session, because) => Outcome::Ended,
            Some(_) | None => Outcome::Gone,
        }
    }

    fn end_spliced(&self, world: &World, tables: &Tables, key: FlowKey, session: u64) -> Outcome {
        let found = tables.flow(&key).filter(|up| up.session == session);
        let Some(up) = found.filter(is_open) else {
            return Outcome::Gone;
        };
        let last_seen = Duration::from_nanos(up.last_seen);
        if self.has_talked(last_seen) {
            return Outcome::Talked(last_seen);
        }
        let keys = [key, FlowKey::reverse(&up)];
        if keys.iter().any(|key| tables.is_leaving(key)) {
            return Outcome::Gone;
        }
        let down = tables.flow(&keys[1]);
        let removed = world
            .registry
            .with_tables(|tables| tables.unsplice_session(&keys, session));
        if removed != Some(true) {
            return Outcome::Gone;
        }
        // Where a segment came in between, this reset misses: then the host resets the next segment,
        // for which it has no socket.
        let ended = Ended::Evicted;
        if let Some(down) = down {
            tell(ended, [&up, &down]);
        }
        let flow = up;
        give_back(world, &Removed { key, flow, ended });
        Outcome::Ended
    }

    fn has_talked(&self, last_seen: Duration) -> bool {
        !self.is_put_off && last_seen > self.last_seen
    }
}
