//! What the daemon tells of itself: once at start, and to `sluice status`.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

use crate::admission::budget::Shares;
use crate::config::Config;
use crate::config::why::Why;
use crate::control::reload::{Outcome, Reload};
use crate::control::status::{
    Admission, Backend, Bytes, DataPath, Kernel as KernelStatus, Listener, Ports, Status,
};
use crate::evict::Because;
use crate::kernel::route;
use crate::kernel::{Kernel, Unavailable, causes};
use crate::session::refuse::Reason;
use crate::session::{Snapshot, World};
use crate::upstream;

mod paths;

use paths::{choices, counted, sockmap, splice, sticky};

/// In seconds.
const DAY: u64 = 24 * 60 * 60;

/// What does not change while the daemon runs.
#[derive(Debug)]
pub(super) struct Facts {
    since: u64,
    threads: usize,
    interfaces: Arc<Mutex<Vec<String>>>,
    pins: Option<String>,
    has_splice: bool,
    downgrades: Mutex<Vec<String>>,
    reload: Mutex<Option<Reload>>,
}

impl Facts {
    pub(super) fn new(
        config: &Config,
        since: u64,
        kernel: Option<&Kernel>,
        unavailable: Option<&Unavailable>,
        world: &World,
    ) -> Self {
        Self {
            since,
            threads: super::threads(config).get(),
            interfaces: kernel
                .map(|kernel| Arc::clone(&kernel.interfaces))
                .unwrap_or_default(),
            pins: kernel.map(|_| config.kernel.pins.display().to_string()),
            has_splice: world.splicer.is_some(),
            downgrades: Mutex::new(
                unavailable
                    .map(downgrade)
                    .into_iter()
                    .chain(kernel.into_iter().flat_map(|kernel| kernel.notes.clone()))
                    .chain(no_port(world))
                    .collect(),
            ),
            reload: Mutex::default(),
        }
    }

    pub(super) fn since(&self) -> u64 {
        self.since
    }

    /// Remembers the last reload, and says what came of it.
    pub(super) fn reloaded(&self, reload: Reload) {
        let cause = reload.cause.label();
        match &reload.outcome {
            Outcome::Taken {
                changes,
                needs_restart,
            } => {
                for change in changes {
                    tracing::info!("{change}");
                }
                for change in needs_restart {
                    tracing::warn!("{change}, which needs a restart");
                }
                tracing::info!(cause, changes = changes.len(), "reloaded");
            }
            Outcome::Refused(complaints) => {
                for complaint in complaints.lines() {
                    tracing::warn!("{complaint}");
                }
                tracing::warn!(cause, "not reloaded; nothing has changed");
            }
            Outcome::Failed(because) => {
                tracing::warn!(cause, because, "not reloaded; nothing has changed");
            }
        }
        let mut last = self.reload.lock().unwrap_or_else(PoisonError::into_inner);
        *last = Some(reload);
    }

    /// Says once, in the log, what an operator should know before anything happens.
    pub(super) fn announce(&self, config: &Config, world: &World) {
        for listener in &config.listeners {
            tracing::info!(name = listener.name, bind = ?listener.bind, pool = listener.pool, "listening");
        }
        let Shares { pending, in_daemon } = world.admission.budget.shares(&config.limits);
        tracing::info!(
            open_files = world.admission.budget.descriptors,
            clients_in_daemon = in_daemon,
            pending_connects = pending.all,
            pending_connects_per_source = pending.each_source,
            pending_bytes = config.limits.pending_bytes,
            "at most"
        );
        for downgrade in self.downgrades().into_iter().chain(expiring(world)) {
            tracing::warn!("{downgrade}");
        }
        let DataPath { path, because } = self.datapath();
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            threads = self.threads,
            datapath = path,
            because,
            interfaces = ?self.interfaces(),
            "ready"
        );
    }

    /// Says that something is not as good as it could be, in one sentence with its remedy.
    pub(super) fn add_downgrade(&self, downgrade: String) {
        tracing::warn!("{downgrade}");
        let downgrades = self.downgrades.lock();
        let mut downgrades = downgrades.unwrap_or_else(PoisonError::into_inner);
        downgrades.push(downgrade);
    }

    fn downgrades(&self) -> Vec<String> {
        let downgrades = self.downgrades.lock();
        downgrades.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn interfaces(&self) -> Vec<String> {
        let interfaces = self.interfaces.lock();
        interfaces.unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn has_kernel(&self) -> bool {
        self.pins.is_some()
    }

    fn datapath(&self) -> DataPath {
        let (path, because) = if self.has_splice {
            (
                "splice",
                "the kernel carries every connection that is eligible, the daemon the others",
            )
        } else {
            (
                "copy",
                "connections cannot be left to the kernel here, so the daemon carries them all",
            )
        };
        DataPath {
            path: path.to_owned(),
            because: because.to_owned(),
        }
    }

    pub(super) fn status(&self, world: &World) -> Status {
        let now = world.snapshot();
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            since: self.since,
            threads: self.threads,
            kernel: KernelStatus {
                loaded: self.pins.is_some(),
                interfaces: self.interfaces(),
                pins: self.pins.clone(),
                unlisted: world.registry.unlisted.value(),
            },
            datapath: self.datapath(),
            downgrades: self
                .downgrades()
                .into_iter()
                .chain(expiring(world))
                .collect(),
            listeners: listeners(&now, world),
            backends: backends(&now, world),
            admission: admission(&now, world),
            refused: counted(world.refusals.each(), Reason::label),
            choices: choices(world),
            evicted: counted(world.evictions.each(), Because::label),
            sticky: sticky(world),
            splice: splice(world),
            sockmap: sockmap(world),
            bytes: Bytes {
                from_clients: world.copied.from_client.value(),
                from_brokers: world.copied.from_broker.value(),
                idle: world.copied.idle.value(),
            },
            reload: self
                .reload
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone(),
        }
    }
}

/// One sentence: what is not in use, why, and so what to do.
fn downgrade(unavailable: &Unavailable) -> String {
    format!("without the kernel half, which {}", causes(unavailable))
}

/// Certificates that are over, or soon will be, in sentences with the remedy.
fn expiring(world: &World) -> Vec<String> {
    const SOON_DAYS: u64 = 14;
    let now = (world.clock)();
    let sentence = |listener: &crate::session::Listener| {
        let expires = listener.tls.as_ref()?.expires()?;
        let name = &listener.name;
        let remedy = "renew it, and reload";
        match expires.checked_sub(now).map(|left| left / DAY) {
            None => Some(format!(
                "a certificate of listener `{name}` has expired; {remedy}"
            )),
            Some(days) if days < SOON_DAYS => Some(format!(
                "a certificate of listener `{name}` expires in {days} d; {remedy}"
            )),
            Some(_) => None,
        }
    };
    world
        .snapshot()
        .listeners
        .iter()
        .filter_map(sentence)
        .collect()
}

fn admission(now: &Snapshot, world: &World) -> Admission {
    let admission = &world.admission;
    let Shares { pending, in_daemon } = admission.budget.shares(&now.limits);
    Admission {
        descriptors: admission.budget.descriptors,
        clients: admission.seats.all(),
        clients_limit: now.limits.max_connections.map(NonZeroU32::get),
        in_daemon: admission.seats.in_daemon(),
        in_daemon_limit: in_daemon,
        pending: admission.pending.count(),
        pending_limit: pending.all,
        pending_limit_per_source: pending.each_source,
        pending_bytes: admission.pending.bytes(),
        pending_bytes_limit: now.limits.pending_bytes,
        hurried: world.refusals.hurried.value(),
    }
}

fn listeners(now: &Snapshot, world: &World) -> Vec<Listener> {
    let listener = |listener: &crate::session::Listener| Listener {
        name: listener.name.clone(),
        addresses: listener.addresses.clone(),
        pool: listener.pool.name.clone(),
        tls: listener.tls.is_some(),
        certificate_expires: listener.tls.as_ref().and_then(|tls| tls.expires()),
        accepted: listener.accepted.value(),
        connections: world.admission.seats.at_listener(&listener.addresses),
        waiting: listener.gate.waiting(),
        syns: world.registry.with_tables(|tables| {
            listener
                .addresses
                .iter()
                .map(|address| tables.syns(address))
                .sum()
        }),
    };
    now.listeners.iter().map(listener).collect()
}

/// Those of the configuration, and behind them those that are gone and have connections.
fn backends(now: &Snapshot, world: &World) -> Vec<Backend> {
    let unix_now = (world.clock)();
    let ago = |since: Instant| unix_now.saturating_sub(since.elapsed().as_secs());
    let pools = now.pools.iter().flat_map(|pool| {
        let backends = pool.backends.iter().cloned();
        backends.map(|backend| (Some(pool.name.clone()), backend))
    });
    let gone = world.backends.all().into_iter();
    let gone = gone.filter(|backend| backend.is_gone() && backend.connections.value() > 0);
    pools
        .chain(gone.map(|backend| (None, backend)))
        .map(|(pool, backend)| {
            let (since, trouble) = backend.learn(Instant::now(), |vitals| {
                (vitals.since, vitals.trouble.clone())
            });
            Backend {
                pool,
                state: backend.state().label().to_owned(),
                state_since: since.map(ago),
                trouble,
                name: backend.name.clone(),
                address: backend.address(),
                weight: backend.weight(),
                number: backend.number,
                ports: ports(&backend, world),
                connections: backend.connections.value(),
                connections_limit: backend.most().map(NonZeroU32::get),
                waiting: backend.gate.waiting(),
                opened: backend.opened.value(),
                failed: backend.passed_over.total(),
                passed_over: counted(backend.passed_over.each(), Why::label),
            }
        })
        .collect()
}

fn ports(backend: &upstream::Backend, world: &World) -> Option<Ports> {
    let ports = &world.splicer.as_ref()?.ports;
    let address = backend.address();
    let route = route::to(address.ip(), None).ok()?;
    let mut sources = backend.sources.all().to_vec();
    if sources.is_empty() {
        sources.extend(route.source);
    }
    sources.retain(|source| source.is_ipv4() == address.is_ipv4());
    route.is_open.then(|| Ports {
        free: sources.iter().map(|one| ports.free(*one, address)).sum(),
        all: sources.len() * ports.count(),
    })
}

/// What to do where the kernel keeps every port to itself.
fn no_port(world: &World) -> Option<String> {
    let ports = &world.splicer.as_ref()?.ports;
    (ports.count() == 0).then(|| {
        "every connection is copied, as net.ipv4.ip_local_port_range leaves no port from 10000 up for \
         the splice; make it smaller, such as \"32768 60999\", or list ports in \
         net.ipv4.ip_local_reserved_ports, and restart"
            .to_owned()
    })
}
