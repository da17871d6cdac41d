//! What is measured: scenarios, and the cases of each.

use std::fmt;

use clap::ValueEnum;

use super::Effort;

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    /// Request and response: messages per second, latency, CPU for each message.
    Rtt,
    /// Long messages, several on their way at a time: throughput.
    Bulk,
    /// CONNECT, CONNACK, DISCONNECT: connections per second.
    Connect,
    /// What the kernel half costs for a packet, alone; only when it is named.
    Program,
}

/// One case; every contender is measured in it.
#[derive(Clone, Copy)]
pub(crate) struct Cell {
    pub(crate) scenario: Scenario,
    pub(crate) connections: usize,
    /// Of one message; the answer is as long. Nothing in `connect`.
    pub(crate) bytes: usize,
    /// Messages on their way at a time, in each connection.
    pub(crate) depth: usize,
    pub(crate) rounds: usize,
    pub(crate) warm_up_ms: u64,
    pub(crate) measure_ms: u64,
}

/// A message of `bulk`, and how many are on their way.
const BULK: (usize, usize) = (64 << 10, 8);
/// Clients that connect at a time.
const ARRIVING: usize = 32;

/// The cases of these scenarios; of all where none is named.
pub(crate) fn cells(wanted: &[Scenario], effort: Effort) -> Vec<Cell> {
    Scenario::value_variants()
        .iter()
        .filter(|scenario| wanted.is_empty() || wanted.contains(scenario))
        .flat_map(|scenario| scenario.cells(effort))
        .collect()
}

impl Scenario {
    fn cells(self, effort: Effort) -> Vec<Cell> {
        let (bulk_bytes, bulk_depth) = BULK;
        match (self, effort) {
            (Self::Rtt, Effort::Quick) => [(50, 2), (50, 1024), (500, 64)]
                .map(|(connections, bytes)| self.cell(effort, connections, bytes, 1))
                .to_vec(),
            (Self::Rtt, Effort::Full) => [1, 50, 500, 5000]
                .into_iter()
                .flat_map(|connections| [2, 64, 1024, 16_384].map(|bytes| (connections, bytes)))
                .map(|(connections, bytes)| self.cell(effort, connections, bytes, 1))
                .collect(),
            (Self::Bulk, Effort::Quick) => vec![self.cell(effort, 8, bulk_bytes, bulk_depth)],
            (Self::Bulk, Effort::Full) => [1, 8]
                .map(|connections| self.cell(effort, connections, bulk_bytes, bulk_depth))
                .to_vec(),
            (Self::Connect, _) => vec![self.cell(effort, ARRIVING, 0, 1)],
            // It is a benchmark of its own, without contenders.
            (Self::Program, _) => Vec::new(),
        }
    }

    fn cell(self, effort: Effort, connections: usize, bytes: usize, depth: usize) -> Cell {
        let (rounds, warm_up_ms, measure_ms) = match effort {
            Effort::Quick => (3, 200, 800),
            Effort::Full => (5, 500, 2000),
        };
        Cell {
            scenario: self,
            connections,
            bytes,
            depth,
            rounds,
            warm_up_ms,
            measure_ms,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Rtt => "rtt",
            Self::Bulk => "bulk",
            Self::Connect => "connect",
            Self::Program => "program",
        }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            scenario,
            connections,
            bytes,
            depth,
            ..
        } = self;
        match scenario {
            Scenario::Rtt => write!(f, "rtt: {connections} connections × {bytes} B"),
            Scenario::Bulk => write!(
                f,
                "bulk: {connections} connections × {depth} messages of {} kB on their way",
                bytes >> 10
            ),
            Scenario::Connect => write!(f, "connect: {connections} clients at a time"),
            Scenario::Program => f.write_str(scenario.name()),
        }
    }
}
