//! What the command line asks and can be told at once.

use super::report::Facts;
use super::{explain, flows, operate};
use crate::control::{Reply, Request};
use crate::kernel::tables::Tables;
use crate::session::World;

pub(super) fn answer(
    world: &World,
    tables: Option<&Tables>,
    facts: &Facts,
    request: Request,
) -> Reply {
    match request {
        Request::Explain { question } => {
            explain::explain(world, &question).map_or_else(Reply::Error, Reply::Explained)
        }
        Request::Flows(filter) => Reply::Flows(match tables {
            Some(tables) => flows::rows(world, tables, &filter),
            None => Vec::new(),
        }),
        Request::Operate { change } => operate::answer(world, &change),
        Request::HandOver | Request::Reload => Reply::Error("not here".to_owned()),
        Request::Simulate { thought } => {
            explain::simulate(world, tables, &thought).map_or_else(Reply::Error, Reply::Simulated)
        }
        Request::Status => Reply::Status(Box::new(facts.status(world))),
    }
}
