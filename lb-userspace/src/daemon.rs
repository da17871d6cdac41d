//! The daemon: everything is built here, runs, and comes to its end.

use std::collections::HashMap;
use std::fmt;
use std::net::TcpListener;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use lb_common::LAYOUT;
use lb_common::about::About;
use lb_common::text;
use tokio::runtime;
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::reload::Error as LogError;

mod answer;
mod build;
mod descriptors;
mod ends;
mod evict;
mod explain;
mod failure;
mod flows;
mod hand_over;
mod inherit;
mod notify;
mod office;
mod operate;
mod plan;
mod reload;
mod remember;
mod report;
mod rounds;
mod sockets;
mod sweep;
mod watch;
mod worker;

use crate::admission::Admission;
use crate::admission::budget::Budget;
use crate::config::{Config, KernelMode};
use crate::control;
use crate::drain::Tasks;
use crate::kernel::pins::{PinError, Pins};
use crate::kernel::tables::Tables;
use crate::kernel::{self, Kernel, Unavailable};
use crate::listen::tls::Tls;
use crate::session::World;
use crate::sticky::Memory;
pub use failure::Failure;
use hand_over::Former;
use office::{Office, Told};
use report::Facts;
use sockets::{Bound, Sockets};
use worker::Post;

/// What becomes of the pins when the daemon ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtExit {
    Detach,
    Stay,
}

/// What becomes of a daemon that runs already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beside {
    /// There must be none.
    Nobody,
    /// This one takes its place, if there is one.
    Replaced,
}

/// How a daemon is to run.
#[derive(Debug)]
pub struct Start {
    /// Where the configuration is, from the root.
    pub file: PathBuf,
    /// What is written there.
    pub text: String,
    pub config: Config,
    pub at_exit: AtExit,
    pub beside: Beside,
    pub set_log: SetLog,
}

/// Sets the filter of the log.
pub struct SetLog(Box<dyn Fn(EnvFilter) -> Result<(), LogError>>);

impl SetLog {
    pub fn new(set: impl Fn(EnvFilter) -> Result<(), LogError> + 'static) -> Self {
        Self(Box::new(set))
    }
}

impl fmt::Debug for SetLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SetLog").finish_non_exhaustive()
    }
}

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
///
/// What keeps it from starting; once it runs it ends in order.
pub fn run(start: &Start) -> Result<(), Failure> {
    let config = &start.config;
    let tls = build::tls(config)?;
    let (mut former, handed) = former(start)?;
    let since = unix_time().max(former.as_ref().map_or(0, |former| former.who.since + 1));
    let control = control_socket(config, former.as_ref())?;
    let descriptors = descriptors::raise();
    let (threads, posts): (Vec<_>, Vec<_>) = (0..threads(config).get())
        .map(|_| mpsc::unbounded_channel())
        .unzip();
    let each = threads.len();
    let mut inherited = inherit::take();
    inherited.sockets.extend(handed);
    let sockets = Sockets::new(threads, inherited.sockets);
    let bound = sockets.bind(&config.listeners)?;
    let admission = Arc::new(Admission::new(Budget {
        descriptors,
        // Each thread has a socket of its own for each address, and here is a copy of it.
        listening: 2 * (bound.len() * each) as u64,
    }));

    if let Some(former) = &mut former {
        former.release().map_err(Failure::HandOver)?;
    }
    let beside = former.as_ref().map(|former| former.who.pid);
    let (kernel, tables, unavailable) = load(config, beside)?;
    let shared = shared(config, kernel.as_ref(), admission, tls)?;
    let world = Arc::new(build::world(config, tables, shared, since, unix_time)?);
    sign(&world, since)?;
    let own_tables = kernel
        .as_ref()
        .map(Kernel::tables)
        .transpose()?
        .map(Arc::new);
    if let Some(tables) = &own_tables {
        sweep::adopt(&world, tables, beside);
    }
    operate::resume(&world);

    let facts = Facts::new(config, since, kernel.as_ref(), unavailable.as_ref(), &world);
    facts.announce(config, &world);
    for complaint in inherited.complaints {
        facts.add_downgrade(complaint);
    }
    let office = Office {
        start,
        world: &world,
        kernel: kernel.zip(own_tables),
        control,
        facts: &facts,
        former: beside.map(|pid| (pid, build::first_session(since))),
    };
    let told = serve(posts, office, sockets, bound, former);
    let is_last = !matches!(told, Ok(Told::Replaced));
    if is_last && start.at_exit == AtExit::Detach && facts.has_kernel() {
        drop(world);
        let cut = detach(config)?;
        tracing::info!(
            connections = cut,
            "detached from the kernel, cutting connections"
        );
    }
    told.map(drop)
}

type Loaded = (Option<Kernel>, Option<Tables>, Option<Unavailable>);

/// The kernel half, or why there is none.
fn load(config: &Config, beside: Option<u32>) -> Result<Loaded, Failure> {
    match kernel::load(&config.kernel, &build::listeners(config), beside) {
        Ok((kernel, tables)) => Ok((Some(kernel), Some(tables), None)),
        Err(unavailable) if config.kernel.mode == KernelMode::Required => {
            Err(Failure::Kernel(unavailable))
        }
        Err(unavailable) => Ok((None, None, Some(unavailable))),
    }
}

fn shared(
    config: &Config,
    kernel: Option<&Kernel>,
    admission: Arc<Admission>,
    tls: Vec<Option<Arc<Tls>>>,
) -> Result<build::Shared, Failure> {
    let sticky = kernel.map(Kernel::sticky).transpose()?;
    let room = usize::try_from(config.kernel.sticky_capacity).unwrap_or(usize::MAX);
    Ok(build::Shared {
        sockmap: kernel.and_then(|kernel| kernel.sockmap.clone()),
        memory: Memory::new(sticky, room),
        admission,
        tls,
    })
}

fn control_socket(config: &Config, former: Option<&Former>) -> Result<control::Socket, Failure> {
    let path = &config.daemon.control;
    let socket = match former {
        Some(_) => control::Socket::bind_beside(path),
        None => control::Socket::bind(path),
    };
    socket.map_err(|source| Failure::Control {
        path: path.clone(),
        source,
    })
}

/// The daemon whose place this one is to take, and its sockets.
fn former(start: &Start) -> Result<(Option<Former>, Vec<TcpListener>), Failure> {
    let path = &start.config.daemon.control;
    let is_there = std::os::unix::net::UnixStream::connect(path).is_ok();
    if start.beside == Beside::Nobody || !is_there {
        return Ok((None, Vec::new()));
    }
    let (former, sockets) = Former::ask(path).map_err(Failure::HandOver)?;
    Ok((Some(former), sockets))
}

/// The daemon that was to take the place of this one has ended: what it changed is as it was.
fn take_back(world: &World, config: &Config, since: u64) {
    world.take_back();
    let backends = world.backends.all();
    let taken = world.registry.with_tables(|tables| {
        tables.add_listeners(&build::listeners(config))?;
        backends.iter().for_each(|backend| tables.count(backend));
        Ok::<(), kernel::tables::TableError>(())
    });
    if let Some(Err(error)) = taken {
        tracing::warn!(%error, "new connections may be copied");
    }
    if let Err(error) = sign(world, since) {
        tracing::warn!("{}", kernel::causes(&error));
    }
}

/// Sentences about files that a configuration names and that cannot be used.
pub fn unusable_files(config: &Config) -> Vec<String> {
    let listeners = config.listeners.iter();
    let failures = listeners.filter_map(|listener| build::tls_of(listener).err());
    failures.map(|failure| kernel::causes(&failure)).collect()
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
    posts: Vec<UnboundedReceiver<Post>>,
    mut office: Office<'_>,
    mut sockets: Sockets,
    bound: Vec<Bound>,
    former: Option<Former>,
) -> Result<Told, Failure> {
    let world = Arc::clone(office.world);
    let stop = world.stop.clone();
    let mut workers = Vec::new();
    for (n, posts) in posts.into_iter().enumerate() {
        let world = Arc::clone(office.world);
        let worker = thread::Builder::new()
            .name(format!("worker-{n}"))
            .spawn(move || worker::run(posts, &world));
        workers.push(worker.map_err(Failure::Runtime)?);
    }
    sockets.open(bound);
    sockets.limit_segments(&office.world.snapshot());
    for address in sockets.forget_inherited() {
        office.facts.add_downgrade(inherit::unwanted(address));
    }
    let manager = sockets.notify().clone();
    manager.ready();
    if let Some(former) = former {
        office.take_place(former)?;
    }
    let drain_timeout = office.start.config.daemon.drain_timeout;
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(Failure::Runtime)?;
    let served = runtime.block_on(office.until_told(sockets, &Tasks::new(stop.clone())));
    stop.accepting.cancel();
    if let Ok(Told::Replaced) = served {
        runtime.block_on(office::drain(drain_timeout, || {
            workers.iter().all(thread::JoinHandle::is_finished)
        }))?;
    } else {
        manager.stopping();
    }
    stop.carrying.cancel();
    world.registry.carried.stop();
    for worker in workers {
        if worker.join().is_err() {
            tracing::error!("a worker thread panicked");
        }
    }
    if !world.is_released() {
        rounds::write_counts(&world, &mut HashMap::new());
    }
    tracing::info!("stopped");
    served
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
