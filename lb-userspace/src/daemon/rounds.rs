//! What is done about once a second.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future;
use std::time::Duration;

use lb_common::flow::{Flow, FlowKey};
use tokio::{task, time};

use super::sweep::{forget_ended, give_back};
use crate::admission::Source;
use crate::kernel::Kernel;
use crate::kernel::flows::{key_addresses, now};
use crate::kernel::interfaces::News;
use crate::kernel::sweep::{Ended, Removed, tell};
use crate::kernel::tables::Tables;
use crate::session::World;

const PAUSE: Duration = Duration::from_secs(1);
/// Between two looks at interfaces that change all the time.
const BREATH: Duration = Duration::from_millis(20);
/// Flows whose way is looked up before others of this thread have their turn.
const AT_A_TIME: usize = 256;
/// After a look at all ways there is none for so many times as long as it took: on some hosts routes
/// change all the time.
const REST: u32 = 4;

/// Follows interfaces and routes, and writes down how many connections each backend has.
pub(super) async fn forever(world: &World, kernel: &mut Kernel, tables: &Tables) {
    let mut written = HashMap::new();
    let mut next_look = Duration::ZERO;
    let news = News::subscribe()
        .inspect_err(|error| tracing::warn!(%error, "new interfaces are found within a second"))
        .ok();
    loop {
        if world.is_released() {
            time::sleep(PAUSE).await;
            continue;
        }
        kernel.follow_interfaces();
        if now() >= next_look {
            let begin = now();
            follow_routes(kernel, tables).await;
            next_look = now() + (now() - begin) * REST;
        }
        write_counts(world, &mut written);
        let replaced = world.registry.with_tables(Tables::take_replaced);
        for (key, flow, down) in replaced.into_iter().flatten() {
            let ended = Ended::Closed;
            if let Some(down) = down {
                tell(ended, [&flow, &down]);
            }
            give_back(world, &Removed { key, flow, ended });
        }
        forget_ended(world);
        count_sources(world, tables);
        tokio::select! {
            () = time::sleep(PAUSE) => {}
            never = greet_interfaces(world, kernel, news.as_ref()) => match never {},
        }
    }
}

/// Attaches to interfaces at once when they come: what arrives there for a connection in the kernel, the
/// host would answer with a reset.
async fn greet_interfaces(world: &World, kernel: &mut Kernel, news: Option<&News>) -> Infallible {
    if let Some(news) = news {
        while news.next().await.is_ok() && !world.is_released() {
            kernel.follow_interfaces();
            time::sleep(BREATH).await;
        }
    }
    future::pending().await
}

/// Gives connections another interface, where routes have changed.
async fn follow_routes(kernel: &mut Kernel, tables: &Tables) {
    let Some(mut look) = kernel.look_at_ways() else {
        return;
    };
    for (number, (key, flow)) in tables.directions().enumerate() {
        look.at(&key, &flow);
        if number % AT_A_TIME == AT_A_TIME - 1 {
            task::yield_now().await;
        }
    }
    if look.moved > 0 {
        tracing::info!(flows = look.moved, "packets leave by another interface");
    }
}

/// A limit for sources is new: what is in the kernel counts as well. Nothing of that is given back
/// meanwhile, as it is this thread that does so.
fn count_sources(world: &World, tables: &Tables) {
    let seats = &world.admission.seats;
    if seats.lacks_flows() {
        let source = |(key, _): (FlowKey, Flow)| Source::from(key_addresses(&key)[0].ip());
        let sources: Vec<Source> = tables.spliced().map(source).collect();
        seats.add_flows(sources);
    }
}

/// Writes down how many connections each backend has, where that is not what was `written`.
pub(super) fn write_counts(world: &World, written: &mut HashMap<u32, u64>) {
    for backend in world.backends.all() {
        let connections = backend.connections.value();
        if written.insert(backend.number, connections) != Some(connections) {
            world.registry.with_tables(|tables| tables.count(&backend));
        }
    }
}
