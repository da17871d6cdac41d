//! Looks over all connections in the kernel, rarely and in small parts, for what nobody told of:
//! clients that are lost, events that are, and what a former daemon left.

use std::time::Duration;

use lb_common::flow::FlowKey;
use nix::time::{ClockId, clock_gettime};
use tokio::time;

use crate::kernel::flows::{flow_addresses, key_addresses, now};
use crate::kernel::sweep::{Found, Removed, Scope, may_have_ended, settle, tell};
use crate::kernel::tables::Tables;
use crate::session::World;

/// Between the end of one sweep and the begin of the next.
const PAUSE: Duration = Duration::from_secs(5);
/// Entries looked at before others get their turn.
const AT_A_TIME: usize = 2048;
/// At most one part in so many of a processor is spent sweeping.
const SHARE: u32 = 50;

/// Looks again and again for as long as the daemon runs.
pub(super) async fn forever(world: &World, tables: &Tables) {
    loop {
        let mut pace = Pace::default();
        for (key, up) in tables.spliced() {
            if may_have_ended(&up, now()) && !world.registry.leaving.has(up.session) {
                look_closer(world, &key, up.session, Scope::Running);
            }
            pace.step().await;
        }
        for (client, binding) in tables.clients() {
            if tables.is_gone(&binding) {
                let session = binding.session;
                world
                    .registry
                    .with_tables(|tables| tables.unbind(&client, session));
            }
            pace.step().await;
        }
        time::sleep(PAUSE).await;
    }
}

/// Gives every so often the others their turn, and the processor to the rest of the host.
#[derive(Debug)]
struct Pace {
    steps: usize,
    begin: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            steps: 0,
            begin: spent(),
        }
    }
}

impl Pace {
    async fn step(&mut self) {
        self.steps += 1;
        if self.steps == AT_A_TIME {
            time::sleep((spent() - self.begin) * SHARE).await;
            *self = Self::default();
        }
    }
}

/// Backends that are no longer configured have had their last connection.
pub(super) fn forget_ended(world: &World) {
    for ended in world.backends.take_ended() {
        tracing::info!(
            backend = ended.name,
            "is gone, and so is its last connection"
        );
        let forgotten = world
            .registry
            .with_tables(|tables| tables.forget_backend(ended.number));
        if let Some(Err(error)) = forgotten {
            tracing::warn!(backend = ended.name, %error, "stays listed in the kernel");
        }
    }
}

/// Processor time that this thread has had: a busy host makes a sweep long, but not dear.
pub(super) fn spent() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

/// What a daemon left that has ended since this one took its place; all of it is older than `first`.
pub(super) fn bury(world: &World, tables: &Tables, first: u64) {
    for (key, up) in tables.spliced() {
        if up.session < first && tables.is_leaving(&key) {
            look_closer(world, &key, up.session, Scope::Adopted);
        }
    }
    let forgotten = world
        .registry
        .with_tables(|tables| tables.forget_copied_sessions(first));
    if let Some(Err(error)) = forgotten {
        tracing::warn!(%error, "clients of the daemon before stay listed");
    }
}

/// Removes what a former daemon left, and was not done with.
pub(super) fn adopt(world: &World, tables: &Tables, beside: Option<u32>) {
    // A daemon that still runs comes to an end itself with what it hands over.
    let scope = if beside.is_some() {
        Scope::Running
    } else {
        Scope::Adopted
    };
    for (key, up) in tables.spliced() {
        look_closer(world, &key, up.session, scope);
    }
    for (client, binding) in tables.clients() {
        if tables.is_gone(&binding) {
            let session = binding.session;
            world
                .registry
                .with_tables(|tables| tables.unbind(&client, session));
        }
    }
    if beside.is_none() {
        world.registry.with_tables(Tables::forget_leaving);
    }
}

/// Removes a connection if it has ended; what it held is given back.
pub(super) fn look_closer(world: &World, key: &FlowKey, session: u64, scope: Scope) -> Found {
    if world.is_released() {
        return Found::Lives;
    }
    let settle = |tables: &mut Tables| settle(tables, key, session, now(), scope);
    let found = world.registry.with_tables(settle).unwrap_or(Found::Gone);
    if let Found::Removed(gone) = &found {
        let (removed, down) = &**gone;
        if let Some(down) = down {
            tell(removed.ended, [&removed.flow, down]);
        }
        give_back(world, removed);
    }
    found
}

/// What a connection in the kernel held is free again.
pub(super) fn give_back(world: &World, Removed { key, flow, ended }: &Removed) {
    let [source, broker] = flow_addresses(flow);
    tracing::debug!(
        session = flow.session,
        ?ended,
        "connection has left the kernel"
    );
    if let Some(splicer) = &world.splicer {
        splicer.ports.give_back(source, broker);
        splicer.ended.count(*ended);
    }
    let [client, listener] = key_addresses(key);
    world
        .admission
        .seats
        .give_back(listener, client.ip().into());
    if let Some(backend) = world.backends.by_number(flow.backend) {
        backend.connections.sub_one();
    }
}
