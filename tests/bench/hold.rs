//! Clients that connect and then say nothing, and the memory that they take.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Value, json};

use crate::memory::Memory;
use crate::wire::{Tickets, Wire, believe};
use crate::{Common, introduce_by, join};

#[derive(Args)]
pub(crate) struct Options {
    #[arg(long)]
    connections: usize,
    #[arg(long)]
    threads: usize,
    /// The process whose memory counts beside the kernel's
    #[arg(long)]
    balancer: Option<u32>,
    /// For how many seconds the connections stay when all has been said
    #[arg(long, default_value_t = 0)]
    stay: u64,
}

/// The clients that are to be kept for so long, and what is known when they are all there.
pub(crate) struct Held {
    pub(crate) report: Value,
    pub(crate) clients: Vec<Wire>,
    pub(crate) stay: Duration,
}

pub(crate) fn run(common: &Common, options: &Options) -> io::Result<Held> {
    let before = Memory::now(options.balancer)?;
    let start = Instant::now();
    let clients = connect(common, options)?;
    let length = start.elapsed();
    // Connections that leave for the kernel are on their way for a moment.
    thread::sleep(common.measure());
    let after = Memory::now(options.balancer)?;
    Ok(Held {
        report: json!({
            "count": clients.len(),
            "seconds": length.as_secs_f64(),
            "memory": before.growth(&after),
        }),
        clients,
        stay: Duration::from_secs(options.stay),
    })
}

fn connect(common: &Common, options: &Options) -> io::Result<Vec<Wire>> {
    let config = believe(common.authority.as_deref(), Tickets::Refused)?;
    let share = |thread: usize| {
        (thread..options.connections)
            .step_by(options.threads)
            .map(|number| {
                let id = format!("held-{}-{number}", std::process::id());
                introduce_by(config.as_ref(), None, common.to, &id)
            })
            .collect::<io::Result<Vec<_>>>()
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..options.threads)
            .map(|thread| scope.spawn(move || share(thread)))
            .collect();
        let shares: io::Result<Vec<_>> = workers.into_iter().map(join).collect();
        Ok(shares?.into_iter().flatten().collect())
    })
}
