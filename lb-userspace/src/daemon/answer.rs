//! What the command line asks and can be told.

use std::sync::Arc;

use tokio::task;

use super::report::Facts;
use super::{explain, flows, operate};
use crate::control::flows::{Filter, Row};
use crate::control::{Reply, Request};
use crate::kernel::tables::Tables;
use crate::session::World;

pub(super) async fn answer(
    world: &Arc<World>,
    tables: Option<&Arc<Tables>>,
    facts: &Facts,
    request: Request,
) -> Reply {
    match request {
        Request::Explain { question } => {
            explain::explain(world, &question).map_or_else(Reply::Error, Reply::Explained)
        }
        Request::Flows(filter) => {
            let (world, tables) = (Arc::clone(world), tables.cloned());
            beside(move || Reply::Flows(rows(&world, tables.as_deref(), &filter))).await
        }
        Request::HandOver | Request::Reload => Reply::Error("not here".to_owned()),
        Request::Operate { change } => operate::answer(world, &change),
        Request::Simulate { thought } => {
            let (world, tables) = (Arc::clone(world), tables.cloned());
            let simulate = move || explain::simulate(&world, tables.as_deref(), &thought);
            beside(move || simulate().map_or_else(Reply::Error, Reply::Simulated)).await
        }
        Request::Status => Reply::Status(Box::new(facts.status(world))),
    }
}

/// Where there are many clients some answers take long: other work here goes on meanwhile.
async fn beside(find: impl FnOnce() -> Reply + Send + 'static) -> Reply {
    let found = task::spawn_blocking(find).await;
    found.unwrap_or_else(|error| Reply::Error(error.to_string()))
}

fn rows(world: &World, tables: Option<&Tables>, filter: &Filter) -> Vec<Row> {
    tables.map_or_else(Vec::new, |tables| flows::rows(world, tables, filter))
}
