//! What the command line asks.

use super::{explain, flows};
use crate::control::Reply;
use crate::control::explain::{Question, Thought};
use crate::control::flows::Filter;
use crate::kernel::tables::Tables;
use crate::session::World;

pub(super) fn explain(world: &World, question: &Question) -> Reply {
    explain::explain(world, question).map_or_else(Reply::Error, Reply::Explained)
}

pub(super) fn flows(world: &World, tables: Option<&Tables>, filter: &Filter) -> Reply {
    let rows = |tables| flows::rows(world, tables, filter);
    Reply::Flows(tables.map_or_else(Vec::new, rows))
}

pub(super) fn simulate(world: &World, tables: Option<&Tables>, thought: &Thought) -> Reply {
    explain::simulate(world, tables, thought).map_or_else(Reply::Error, Reply::Simulated)
}
