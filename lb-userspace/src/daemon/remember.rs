//! Keeps what is remembered of clients in order, for as long as the daemon runs.

use std::collections::HashSet;
use std::time::Duration;

use tokio::time;

use super::sweep::spent;
use crate::kernel::sticky::Table;
use crate::kernel::tables::Tables;
use crate::session::World;
use crate::sticky::Expiry;
use crate::upstream::Pool;

/// Between two looks; the end of a session is noted so much later.
const PAUSE: Duration = Duration::from_secs(1);
/// At most one part in so many of a processor is spent looking.
const SHARE: u32 = 50;

pub(super) async fn forever(world: &World, tables: Option<&Tables>, reader: Option<Table>) {
    loop {
        let begin = spent();
        once(world, tables, reader.as_ref());
        time::sleep(PAUSE.max((spent() - begin) * SHARE)).await;
    }
}

fn once(world: &World, tables: Option<&Tables>, reader: Option<&Table>) {
    let now = world.snapshot();
    let expire = |pool: &'_ Pool| pool.sticky.map(|sticky| sticky.expire);
    let pools = now.pools.iter();
    let expiry = Expiry::new(pools.filter_map(|pool| Some((pool.name.as_str(), expire(pool)?))));
    if expiry.is_empty() && world.memory.entries() == 0 {
        return;
    }
    let spliced: HashSet<u64> = match tables {
        Some(tables) => tables.spliced().map(|(_, flow)| flow.session).collect(),
        None => HashSet::new(),
    };
    let carried = &world.registry.carried;
    let is_open = |session| spliced.contains(&session) || carried.sight(session).is_some();
    world.memory.tidy(reader, is_open, &expiry, (world.clock)());
}
