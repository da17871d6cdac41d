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
use crate::wire::{Tickets, believe};
use crate::{Common, introduce_by, join, packet};

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
    /// Come back with the tickets of TLS
    #[arg(long)]
    tickets: bool,
}

/// What one thread of clients saw.
struct Seen {
    times: Histogram,
    /// Handshakes that a ticket has shortened.
    resumed: u64,
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

    let mut times = Histogram::new();
    let mut resumed = 0;
    for outcome in outcomes {
        let seen = outcome?;
        times.merge(&seen.times);
        resumed += seen.resumed;
    }
    let mut report = interval?.report(&times, 0);
    report["resumed"] = resumed.into();
    Ok(report)
}

/// The times from the first SYN to CONNACK.
fn come_and_go(
    common: &Common,
    options: &Options,
    stage: &Stage,
    begun: &AtomicUsize,
) -> io::Result<Seen> {
    let mut seen = Seen {
        times: Histogram::new(),
        resumed: 0,
    };
    let tickets = if options.tickets {
        Tickets::Kept
    } else {
        Tickets::Refused
    };
    // Of its own, so that it comes back with its own last ticket.
    let config = believe(common.authority.as_deref(), tickets)?;
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
        let mut stream = introduce_by(config.as_ref(), from.copied(), common.to, &id)?;
        let took = start.elapsed();
        stream.write_all(&packet::DISCONNECT)?;
        let is_resumed = stream.is_resumed();
        drop(stream);
        if stage.is_measuring() {
            seen.times.add(took);
            seen.resumed += u64::from(is_resumed);
        }
    }
    Ok(seen)
}
