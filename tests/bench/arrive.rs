//! Clients that connect, wait for CONNACK, disconnect, and make room for the next.

use std::io::{self, Write as _};
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::Value;

use crate::histogram::Histogram;
use crate::stage::Stage;
use crate::{Common, introduce_from, join, packet};

#[derive(Args)]
pub(crate) struct Options {
    /// Clients at a time, each a thread
    #[arg(long)]
    connections: usize,
    /// Addresses to come from, in turn: each client leaves a port that rests for a minute
    #[arg(long)]
    from: Vec<IpAddr>,
    /// Clients in a second; as many as can be without
    #[arg(long)]
    per_second: Option<u32>,
}

pub(crate) fn run(common: &Common, options: &Options) -> io::Result<Value> {
    let stage = Stage::new();
    let begun = AtomicUsize::new(0);

    let (interval, outcomes) = thread::scope(|scope| {
        let clients: Vec<_> = (0..options.connections)
            .map(|_| {
                scope.spawn(|| {
                    let seen = come_and_go(common, options, &stage, &begun);
                    if seen.is_err() {
                        stage.end();
                    }
                    seen
                })
            })
            .collect();
        let interval = stage.conduct(common.warm_up(), common.measure());
        stage.end();
        let outcomes: Vec<_> = clients.into_iter().map(join).collect();
        (interval, outcomes)
    });

    let mut seen = Histogram::new();
    for outcome in outcomes {
        seen.merge(&outcome?);
    }
    Ok(interval?.report(&seen, 0))
}

/// The times from the first SYN to CONNACK.
fn come_and_go(
    common: &Common,
    options: &Options,
    stage: &Stage,
    begun: &AtomicUsize,
) -> io::Result<Histogram> {
    let mut seen = Histogram::new();
    let first = Instant::now();
    while !stage.is_over() {
        let number = begun.fetch_add(1, Ordering::Relaxed);
        if let Some(per_second) = options.per_second {
            let due = Duration::from_secs(1) / per_second * u32::try_from(number).unwrap_or(0);
            thread::sleep(due.saturating_sub(first.elapsed()));
        }
        let id = format!("bench-{}-{number}", std::process::id());
        let start = Instant::now();
        let from = options.from.get(number % options.from.len().max(1));
        let mut stream = introduce_from(from.copied(), common.to, &id)?;
        let took = start.elapsed();
        stream.write_all(&packet::DISCONNECT)?;
        drop(stream);
        if stage.is_measuring() {
            seen.add(took);
        }
    }
    Ok(seen)
}
