//! What is done about once a second.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time;

use super::sweep::{forget_ended, give_back};
use crate::kernel::Kernel;
use crate::kernel::sweep::{Ended, Removed, tell};
use crate::kernel::tables::Tables;
use crate::session::World;

const PAUSE: Duration = Duration::from_secs(1);

/// Follows the interfaces, and writes down how many connections each backend has.
pub(super) async fn forever(world: &World, kernel: &mut Kernel) {
    let mut written = HashMap::new();
    loop {
        kernel.follow_interfaces();
        write_counts(world, &mut written);
        let replaced = world.registry.with_tables(Tables::take_replaced);
        for (flow, down) in replaced.into_iter().flatten() {
            let ended = Ended::Closed;
            if let Some(down) = down {
                tell(ended, [&flow, &down]);
            }
            give_back(world, &Removed { flow, ended });
        }
        forget_ended(world);
        time::sleep(PAUSE).await;
    }
}

fn write_counts(world: &World, written: &mut HashMap<u32, u64>) {
    for backend in world.backends.all() {
        let connections = backend.connections.value();
        if written.insert(backend.number, connections) != Some(connections) {
            world.registry.with_tables(|tables| tables.count(&backend));
        }
    }
}
