//! What the daemon tells of itself: once at start, and to `sluice status`.

use crate::config::Config;
use crate::control::status::{
    Backend, Bytes, DataPath, Kernel as KernelStatus, Listener, Refused, Status,
};
use crate::kernel::{Kernel, Unavailable};
use crate::session::World;
use crate::upstream::Pool;

/// What does not change while the daemon runs.
#[derive(Debug)]
pub(super) struct Facts {
    since: u64,
    threads: usize,
    interfaces: Vec<String>,
    pins: Option<String>,
    downgrades: Vec<String>,
}

impl Facts {
    pub(super) fn new(
        config: &Config,
        since: u64,
        kernel: Option<&Kernel>,
        unavailable: Option<&Unavailable>,
        threads: usize,
    ) -> Self {
        Self {
            since,
            threads,
            interfaces: kernel
                .map(|kernel| kernel.interfaces.clone())
                .unwrap_or_default(),
            pins: kernel.map(|_| config.kernel.pins.display().to_string()),
            downgrades: unavailable.map(downgrade).into_iter().collect(),
        }
    }

    /// Says once, in the log, what an operator should know before anything happens.
    pub(super) fn announce(&self, config: &Config) {
        for listener in &config.listeners {
            tracing::info!(name = listener.name, bind = ?listener.bind, pool = listener.pool, "listening");
        }
        for downgrade in &self.downgrades {
            tracing::warn!("{downgrade}");
        }
        let DataPath { path, because } = self.datapath();
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            threads = self.threads,
            datapath = path,
            because,
            interfaces = ?self.interfaces,
            "ready"
        );
    }

    fn datapath(&self) -> DataPath {
        DataPath {
            path: "copy".to_owned(),
            because:
                "this version relays in the daemon; the kernel half lists clients and counts SYNs"
                    .to_owned(),
        }
    }

    pub(super) fn status(&self, world: &World) -> Status {
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            since: self.since,
            threads: self.threads,
            kernel: KernelStatus {
                loaded: self.pins.is_some(),
                interfaces: self.interfaces.clone(),
                pins: self.pins.clone(),
                unlisted: world.registry.unlisted.value(),
            },
            datapath: self.datapath(),
            downgrades: self.downgrades.clone(),
            listeners: listeners(world),
            backends: world.pools.iter().flat_map(|pool| backends(pool)).collect(),
            refused: refused(world),
            bytes: Bytes {
                from_clients: world.copied.from_client.value(),
                from_brokers: world.copied.from_broker.value(),
            },
        }
    }
}

/// One sentence: what is not in use, why, and so what to do.
fn downgrade(unavailable: &Unavailable) -> String {
    let mut sentence = format!("without the kernel half, which {unavailable}");
    let mut cause = std::error::Error::source(unavailable);
    while let Some(error) = cause {
        sentence.push_str(": ");
        sentence.push_str(&error.to_string());
        cause = error.source();
    }
    sentence
}

fn listeners(world: &World) -> Vec<Listener> {
    let listener = |listener: &crate::session::Listener| Listener {
        name: listener.name.clone(),
        addresses: listener.addresses.clone(),
        pool: listener.pool.name.clone(),
        accepted: listener.accepted.value(),
        syns: world.registry.with_tables(|tables| {
            listener
                .addresses
                .iter()
                .map(|address| tables.syns(address))
                .sum()
        }),
    };
    world.listeners.iter().map(listener).collect()
}

fn backends(pool: &Pool) -> impl Iterator<Item = Backend> {
    pool.backends.iter().map(|backend| Backend {
        pool: pool.name.clone(),
        name: backend.name.clone(),
        address: backend.address,
        weight: backend.weight,
        number: backend.number,
        connections: backend.connections.value(),
        opened: backend.opened.value(),
        failed: backend.failed.value(),
    })
}

fn refused(world: &World) -> Vec<Refused> {
    world
        .refusals
        .each()
        .map(|(reason, count)| Refused {
            reason: reason.label().to_owned(),
            count,
        })
        .collect()
}
