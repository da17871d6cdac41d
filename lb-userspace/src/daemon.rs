//! The daemon: everything is built here, runs, and comes to its end.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use lb_common::LAYOUT;
use lb_common::about::About;
use lb_common::text;
use thiserror::Error;
use tokio::runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

mod build;
mod evict;
mod flows;
mod report;
mod sweep;
mod worker;

use crate::config::{Config, KernelMode};
use crate::control::{self, Reply, Request};
use crate::kernel::pins::{PinError, Pins};
use crate::kernel::sweep::Scope;
use crate::kernel::tables::Tables;
use crate::kernel::{self, Kernel, Unavailable};
use crate::session::World;
use report::Facts;

/// Why the daemon does not start, or could not go on.
#[derive(Debug, Error)]
pub enum Failure {
    #[error("backend `{name}`: `{host}` has no address")]
    Address {
        name: String,
        host: String,
        source: io::Error,
    },
    #[error("listener `{name}`: could not listen on {address}")]
    Bind {
        name: String,
        address: SocketAddr,
        source: io::Error,
    },
    #[error("control socket {path}{}", if source.kind() == io::ErrorKind::AddrInUse {
        ": another daemon is running there; end it first"
    } else {
        "; set `daemon.control` to a path this user may write"
    })]
    Control { path: PathBuf, source: io::Error },
    #[error("`kernel.mode` is \"required\", but the kernel half is not available")]
    Kernel(#[source] Unavailable),
    #[error("could not remove what is pinned")]
    Pins(#[from] PinError),
    #[error("could not start a thread or wait for signals")]
    Runtime(#[source] io::Error),
    #[error("the tables in the kernel")]
    Tables(#[from] kernel::tables::TableError),
}

/// What becomes of the pins when the daemon ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtExit {
    Detach,
    Stay,
}

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
///
/// What keeps it from starting; once it runs it ends in order.
pub fn run(config: &Config, at_exit: AtExit) -> Result<(), Failure> {
    let since = unix_time();
    let control = control::Socket::bind(&config.daemon.control).map_err(|source| {
        let path = config.daemon.control.clone();
        Failure::Control { path, source }
    })?;
    let sockets = build::sockets(config, threads(config))?;

    let addresses: Vec<SocketAddr> = config
        .listeners
        .iter()
        .flat_map(|l| l.bind.clone())
        .collect();
    let (kernel, tables, unavailable) = match kernel::load(&config.kernel, &addresses) {
        Ok((kernel, tables)) => (Some(kernel), Some(tables), None),
        Err(unavailable) if config.kernel.mode == KernelMode::Required => {
            return Err(Failure::Kernel(unavailable));
        }
        Err(unavailable) => (None, None, Some(unavailable)),
    };
    let world = Arc::new(build::world(config, tables, since, unix_time)?);
    sign(&world, since)?;
    let own_tables = kernel.as_ref().map(Kernel::tables).transpose()?;
    if let Some(tables) = &own_tables {
        sweep::once(&world, tables, Scope::Adopted);
    }

    let facts = Facts::new(config, since, kernel.as_ref(), unavailable.as_ref(), &world);
    facts.announce(config);
    let kernel = kernel.zip(own_tables);
    let served = serve(sockets, &world, kernel, &control, &facts);
    if at_exit == AtExit::Detach && facts.has_kernel() {
        drop(world);
        let cut = detach(config)?;
        tracing::info!(
            connections = cut,
            "detached from the kernel, cutting connections"
        );
    }
    served
}

/// Removes what is pinned; tells how many connections were in the kernel and end with it.
///
/// # Errors
///
/// A daemon uses the pins, or what could not be removed.
pub fn detach(config: &Config) -> Result<usize, Failure> {
    let Some(pins) = Pins::existing(&config.kernel.pins) else {
        return Ok(0);
    };
    if let Some(pid) = pins.owner() {
        let path = config.kernel.pins.clone();
        return Err(PinError::InUse { path, pid }.into());
    }
    let cut = pins.connections();
    pins.remove_all()?;
    Ok(cut)
}

fn sign(world: &World, since: u64) -> Result<(), Failure> {
    let about = About {
        layout: LAYOUT,
        pid: std::process::id(),
        since,
        version: text::fixed(env!("CARGO_PKG_VERSION")),
    };
    match world.registry.with_tables(|tables| tables.sign(about)) {
        Some(signed) => Ok(signed?),
        None => Ok(()),
    }
}

/// Serves on every thread, and answers the command line on this one, until told to stop.
fn serve(
    sockets: Vec<worker::Sockets>,
    world: &Arc<World>,
    kernel: Option<(Kernel, Tables)>,
    control: &control::Socket,
    facts: &Facts,
) -> Result<(), Failure> {
    let stop = CancellationToken::new();
    let mut workers = Vec::new();
    for (n, sockets) in sockets.into_iter().enumerate() {
        let (world, stop) = (Arc::clone(world), stop.clone());
        let worker = thread::Builder::new()
            .name(format!("worker-{n}"))
            .spawn(move || worker::run(sockets, &world, stop));
        workers.push(worker.map_err(Failure::Runtime)?);
    }
    let office = runtime::Builder::new_current_thread().enable_all().build();
    let served = office
        .map_err(Failure::Runtime)?
        .block_on(until_signal(world, kernel, control, facts));
    stop.cancel();
    for worker in workers {
        if worker.join().is_err() {
            tracing::error!("a worker thread panicked");
        }
    }
    tracing::info!("stopped");
    served
}

async fn until_signal(
    world: &World,
    mut kernel: Option<(Kernel, Tables)>,
    control: &control::Socket,
    facts: &Facts,
) -> Result<(), Failure> {
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::Runtime)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::Runtime)?;
    let (kernel, tables) = match &mut kernel {
        Some((kernel, tables)) => (Some(kernel), Some(&*tables)),
        None => (None, None),
    };
    let mut kernel = kernel;
    let log = kernel.as_mut().map(|kernel| kernel.log()).transpose();
    let log = log.map_err(Failure::Runtime)?;
    let answer = |request| match request {
        Request::Flows(filter) => Reply::Flows(match tables {
            Some(tables) => flows::rows(world, tables, &filter),
            None => Vec::new(),
        }),
        Request::Status => Reply::Status(Box::new(facts.status(world))),
    };
    let kernel_log = async {
        match log {
            Some(log) => log.await,
            None => std::future::pending().await,
        }
    };
    let errors = async {
        let error = tokio::select! {
            ended = control.answer_forever(answer) => ended,
            ended = kernel_log => ended,
        };
        tracing::error!(?error, "the control socket and the kernel's log are closed");
        std::future::pending::<()>().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = errors => {}
        () = evict::forever(world, tables) => {}
        () = sweep::forever(world, kernel.zip(tables)) => {}
    }
    Ok(())
}

fn threads(config: &Config) -> NonZeroUsize {
    let every_cpu = || thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    config.daemon.threads.unwrap_or_else(every_cpu)
}

fn unix_time() -> u64 {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the clock"
    )]
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
