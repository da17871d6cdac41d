//! What sessions share.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use super::hand_off::Splicer;
use super::place::Route;
use super::refuse::Refusals;
use crate::admission::gate::Gate;
use crate::admission::{Admission, budget};
use crate::config::{DataPath, Limits};
use crate::counters::{Counter, Gauge};
use crate::drain::Stop;
use crate::evict::Evictions;
use crate::kernel::sockmap::Sockmap;
use crate::listen::SegmentLimit;
use crate::listen::tls::Tls;
use crate::mqtt::Version;
use crate::registry::Registry;
use crate::relay::Choices;
use crate::relay::copy::Tally;
use crate::sticky::Memory;
use crate::upstream::{Backends, Pool};

/// What the configuration says now; a change of it makes another.
#[derive(Debug)]
pub struct Snapshot {
    pub limits: Limits,
    pub listeners: Vec<Listener>,
    pub pools: Vec<Arc<Pool>>,
    /// The first that matches counts.
    pub routes: Vec<Route>,
}

impl Snapshot {
    pub fn listener(&self, name: &str) -> Option<&Listener> {
        self.listeners.iter().find(|listener| listener.name == name)
    }

    /// The listener of an address that it is bound to.
    pub fn listener_at(&self, bound: SocketAddr) -> Option<&Listener> {
        let mut listeners = self.listeners.iter();
        listeners.find(|listener| listener.addresses.contains(&bound))
    }
}

/// Where clients come in.
#[derive(Debug)]
pub struct Listener {
    pub name: String,
    pub addresses: Vec<SocketAddr>,
    pub pool: Arc<Pool>,
    pub datapath: DataPath,
    /// Where TLS ends here.
    pub tls: Option<Arc<Tls>>,
    pub versions: Vec<Version>,
    /// Clients at a time; `None` is no limit.
    pub max_connections: Option<NonZeroU32>,
    /// Lets CONNECTs through at its rate.
    pub gate: Arc<Gate>,
    pub segment_limit: Arc<SegmentLimit>,
    pub accepted: Arc<Counter>,
}

/// Everything a session may look at; shared by all of them.
#[derive(Debug)]
pub struct World {
    snapshot: RwLock<Arc<Snapshot>>,
    pub backends: Backends,
    pub registry: Arc<Registry>,
    /// What is remembered of clients.
    pub memory: Memory,
    /// Connections that are to end.
    pub evictions: Evictions,
    /// Where connections can be left to the kernel.
    pub splicer: Option<Splicer>,
    /// Where the kernel can move bytes between sockets.
    pub sockmap: Option<Arc<Sockmap>>,
    pub admission: Arc<Admission>,
    pub refusals: Refusals,
    pub choices: Choices,
    /// Bytes carried on the copy path.
    pub copied: Tally,
    /// Bytes moved by the kernel, of connections that have ended.
    pub moved: Tally,
    /// Tells the Unix time in seconds.
    pub clock: fn() -> u64,
    pub stop: Stop,
    /// Sessions that have not chosen a path yet.
    pub coming: Gauge,
    is_released: AtomicBool,
}

/// What lasts while configurations come and go.
#[derive(Debug)]
pub struct Lasting {
    pub backends: Backends,
    pub registry: Arc<Registry>,
    pub memory: Memory,
    pub splicer: Option<Splicer>,
    pub sockmap: Option<Arc<Sockmap>>,
    pub admission: Arc<Admission>,
    pub clock: fn() -> u64,
}

impl World {
    pub fn new(snapshot: Snapshot, lasting: Lasting) -> Self {
        let Lasting {
            backends,
            registry,
            memory,
            splicer,
            sockmap,
            admission,
            clock,
        } = lasting;
        let goodbyes = budget::goodbyes(admission.budget.descriptors);
        Self {
            snapshot: RwLock::new(Arc::new(snapshot)),
            backends,
            registry,
            memory,
            evictions: Evictions::default(),
            splicer,
            sockmap,
            admission,
            refusals: Refusals::new(usize::try_from(goodbyes).unwrap_or(usize::MAX)),
            choices: Choices::default(),
            copied: Tally::default(),
            moved: Tally::default(),
            clock,
            stop: Stop::default(),
            coming: Gauge::default(),
            is_released: AtomicBool::new(false),
        }
    }

    /// Whether the tables in the kernel are another daemon's now: this one puts nothing more there.
    pub fn is_released(&self) -> bool {
        self.is_released.load(Ordering::SeqCst)
    }

    pub fn release(&self) {
        self.is_released.store(true, Ordering::SeqCst);
    }

    /// There is no other daemon any more.
    pub fn take_back(&self) {
        self.is_released.store(false, Ordering::SeqCst);
    }

    /// The configuration as of now; a session takes one and never looks at another.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        let now = self.snapshot.read();
        Arc::clone(&now.unwrap_or_else(PoisonError::into_inner))
    }

    /// The configuration from now on; sessions that have begun go on with the one they have.
    pub fn replace(&self, snapshot: Snapshot) {
        let mut now = self
            .snapshot
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *now = Arc::new(snapshot);
    }
}
