//! Keeps up with the kernel: connections that have ended there, interfaces that come and go.

use std::time::Duration;

use lb_common::flow::FlowKey;
use nix::time::{ClockId, clock_gettime};
use tokio::time;

use crate::kernel::Kernel;
use crate::kernel::flows::flow_addresses;
use crate::kernel::sweep::{Ended, Removed, Scope, sweep, tell};
use crate::kernel::tables::Tables;
use crate::session::World;

/// Between the end of one sweep and the begin of the next.
const PAUSE: Duration = Duration::from_secs(1);
/// At most one part in so many of a processor is spent sweeping.
const SHARE: u32 = 50;

/// Looks again and again for as long as the daemon runs.
pub(super) async fn forever(world: &World, kernel: Option<(&mut Kernel, &Tables)>) {
    let Some((kernel, tables)) = kernel else {
        return std::future::pending().await;
    };
    loop {
        let begin = spent();
        kernel.follow_interfaces();
        once(world, tables, Scope::Running);
        time::sleep(PAUSE.max((spent() - begin) * SHARE)).await;
    }
}

/// Looks by `tables`, which nobody waits for; removes under the lock, after another look.
pub(super) fn once(world: &World, tables: &Tables, scope: Scope) {
    let registry = &world.registry;
    let remove = |keys: &[FlowKey; 2], session| {
        registry.with_tables(|tables| tables.unsplice_session(keys, session)) == Some(true)
    };
    for removed in sweep(tables, now(), scope, remove) {
        give_back(world, &removed);
    }
    for (flow, down) in registry.take_replaced() {
        if let Some(down) = down {
            tell(Ended::Closed, [&flow, &down]);
        }
        give_back(
            world,
            &Removed {
                flow,
                ended: Ended::Closed,
            },
        );
    }
    for (client, session) in tables.gone_clients() {
        registry.with_tables(|tables| tables.unbind(&client, session));
    }
    forget_ended(world);
    if scope == Scope::Adopted {
        registry.with_tables(Tables::forget_leaving);
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

/// The clock that flows are marked with.
pub(super) fn now() -> Duration {
    // Unlike the clock of the day, this one cannot fail: it is always there.
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from)
}

/// What a connection in the kernel held is free again.
pub(super) fn give_back(world: &World, Removed { flow, ended }: &Removed) {
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
    if let Some(backend) = world.backends.by_number(flow.backend) {
        backend.connections.sub_one();
        world.registry.with_tables(|tables| tables.count(&backend));
    }
}
