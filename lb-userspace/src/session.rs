//! One client, from accept until it is carried by the kernel or has gone.
//!
//! ```text
//! accept ─▶ identify ─▶ admit ─▶ choose ─▶ open ────────▶ register ─▶ relay
//!           one CONNECT  a seat,  pool,     dial, CONNECT,  a row in    splice: leave it to the kernel
//!           in time and  in its   order     CONNACK; else   the tables  copy: until both sides ended
//!           in bounds    turn               the next one
//! ```
//!
//! Up to a backend's CONNACK the client has seen nothing, so a backend that fails can be replaced.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use lb_common::client::Path;
use tokio::net::TcpStream;

use crate::admission::gate::Gate;
use crate::admission::seats::Seat;
use crate::admission::{Admission, budget};
use crate::balance::Subject;
use crate::config::{DataPath, Limits};
use crate::counters::{Counter, Gauge, OneMore};
use crate::dial::Shape;
use crate::drain::{Rest, Stop};
use crate::evict::Evictions;
use crate::kernel::leg::Agreed;
use crate::kernel::sockmap::Sockmap;
use crate::listen::SegmentLimit;
use crate::mqtt::Version;
use crate::mqtt::connack::First;
use crate::mqtt::connect::Connect;
use crate::registry::{Client, Entry, Registry};
use crate::relay::copy::{Pending, Tally};
use crate::relay::{Because, Choices};
use crate::sticky::Memory;
use crate::upstream::{Backends, Pool};

mod admit;
mod carry;
mod hand_off;
mod identify;
mod idle;
mod open;
mod place;
mod reach;
pub mod refuse;

use admit::Patience;
pub use hand_off::{Endings, HandOff, Splicer};
use identify::Identified;
use open::Opened;
pub use place::{Place, Route};
pub use reach::{Recall, recall};
use refuse::{Pace, Refusals, Refused};

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

/// Where clients come in.
#[derive(Debug)]
pub struct Listener {
    pub name: String,
    pub addresses: Vec<SocketAddr>,
    pub pool: Arc<Pool>,
    pub datapath: DataPath,
    pub versions: Vec<Version>,
    /// Clients at a time; `None` is no limit.
    pub max_connections: Option<NonZeroU32>,
    /// Lets CONNECTs through at its rate.
    pub gate: Arc<Gate>,
    pub segment_limit: Arc<SegmentLimit>,
    pub accepted: Arc<Counter>,
}

/// Serves one client that came in at `bound`, as the configuration was when it came, until it is known
/// what becomes of it; gives back the rest of its time in the daemon, which may last for days.
#[tracing::instrument(name = "session", level = "debug", skip_all, fields(client = %address))]
pub async fn run(
    client: TcpStream,
    address: SocketAddr,
    bound: SocketAddr,
    now: &Snapshot,
    world: &Arc<World>,
) -> Option<Rest> {
    let listener = now.listener_at(bound)?;
    listener.accepted.add(1);
    let coming = world.coming.one_more();
    let opened = open(&client, address, listener, now, world).await;
    Some(rest(opened, client, (listener, world), coming))
}

fn rest(
    opened: Result<Session, Refused>,
    client: TcpStream,
    (listener, world): (&Listener, &Arc<World>),
    coming: OneMore<'_>,
) -> Rest {
    let session = match opened {
        Ok(session) => session,
        Err(refused) => {
            tracing::debug!(reason = refused.reason().label(), "refused: {refused}");
            world.refusals.count(refused.reason());
            let world = Arc::clone(world);
            return Box::pin(async move {
                refuse::answer(client, &refused, &world.refusals).await;
            });
        }
    };
    match leave(client, session, listener, world) {
        Ok(hand_off) => {
            let world = Arc::clone(world);
            Box::pin(async move {
                if let Some(splicer) = &world.splicer {
                    hand_off.complete(splicer).await;
                }
            })
        }
        Err(stays) => {
            drop(coming);
            let (client, session, because) = *stays;
            carry::carry(client, session, because, Arc::clone(world))
        }
    }
}

/// A client and a backend that know each other.
#[derive(Debug)]
struct Session {
    /// The client's, and where it connected to.
    addresses: [SocketAddr; 2],
    broker: Opened,
    pending: Pending,
    /// Bytes of the CONNECT, which the backend has.
    connect_bytes: usize,
    /// The silence of the client that ends it; `None` is any.
    idle: Option<Duration>,
    sockmap_queue_bytes: u32,
    seat: Seat,
    /// None where the backend has not accepted the client.
    entry: Option<Entry>,
}

async fn open(
    client: &TcpStream,
    address: SocketAddr,
    listener: &Listener,
    now: &Snapshot,
    world: &World,
) -> Result<Session, Refused> {
    let admission = &world.admission;
    let room = admission.budget.shares(&now.limits).pending;
    let slot = admission.pending.enter(address.ip().into(), room);
    let identified = identify::identify(client, &now.limits, slot);
    let identified = world.stop.identifying.run_until_cancelled(identified).await;
    let identified = identified.unwrap_or(Err(Refused::TooSlow))?;

    let connect = identified.connect.clone();
    let addresses = [address, client.local_addr().map_err(Refused::Lost)?];
    let seat = admit::admit(&connect, addresses, listener, now, world)?;
    let served = serve(client, identified, addresses, seat, (listener, now, world)).await;
    served.inspect_err(|refused| {
        admit::forgive(refused, connect.client_id(), address, world, now);
    })
}

/// Finds a backend for a client that has a seat, when it is its turn.
async fn serve(
    client: &TcpStream,
    Identified {
        connect,
        pipelined,
        held,
    }: Identified,
    addresses: [SocketAddr; 2],
    seat: Seat,
    (listener, now, world): (&Listener, &Snapshot, &World),
) -> Result<Session, Refused> {
    let mut patience = Patience::new(client, &connect, &pipelined, now.limits.queue_timeout);
    patience.pass(&listener.gate, Pace::Listener).await?;

    let subject = Subject {
        client_id: connect.client_id(),
        address: addresses[0].ip(),
    };
    let traits = place::traits(&connect, addresses[0].ip(), listener);
    let Place { route, pool } = now.place(listener, &traits);
    tracing::debug!(route, pool = pool.name, "belongs");
    let splicer = world
        .splicer
        .as_ref()
        .filter(|_| matches!(listener.datapath, DataPath::Auto | DataPath::Splice))
        .filter(|_| !world.is_released());
    let shape = || {
        Some(Shape {
            ports: &splicer?.ports,
            registry: &world.registry,
            client: Agreed::of(client).ok()?,
        })
    };
    let (mut broker, expected, recall) =
        reach::reach(&connect, subject, pool, world, shape, patience).await?;
    drop(held);

    let keep_alive = idle::keep_alive(&connect, &broker.first);
    let entry = register(&connect, addresses, &broker, keep_alive, world);
    if let Some(entry) = &entry {
        reach::remember(&recall, pool, &connect, &broker, entry.session(), world);
    }
    drop(expected);
    tracing::debug!(id = connect.client_id(), backend = %broker.backend.name, "opened");
    Ok(Session {
        addresses,
        pending: Pending {
            to_broker: pipelined,
            to_client: std::mem::take(&mut broker.received),
        },
        connect_bytes: connect.bytes().len(),
        idle: idle::limit(keep_alive, &now.limits),
        sockmap_queue_bytes: now.limits.sockmap_queue_bytes,
        seat,
        entry,
        broker,
    })
}

/// A row for a client that the backend took; a client it refused gets none.
fn register(
    connect: &Connect,
    [address, listener]: [SocketAddr; 2],
    broker: &Opened,
    keep_alive: u16,
    world: &World,
) -> Option<Entry> {
    let assigned_id = match &broker.first {
        First::Connack(connack) if !connack.is_accepted() => return None,
        First::Connack(connack) => connack.assigned_client_id.as_deref(),
        First::Auth => None,
    };
    let client = Client {
        id: assigned_id.unwrap_or_else(|| connect.client_id()),
        address,
        listener,
        version: connect.version(),
        keep_alive,
        clean_start: connect.clean_start(),
        since: (world.clock)(),
    };
    Some(world.registry.open(&client, &broker.backend))
}

/// Prepares to leave the connection to the kernel; gives it back, with the reason, where it stays.
fn leave(
    client: TcpStream,
    session: Session,
    listener: &Listener,
    world: &World,
) -> Result<HandOff, Box<(TcpStream, Session, Because)>> {
    let (choice, legs) = hand_off::choose(&client, &session, listener, world);
    let Some(legs) = legs.filter(|_| choice.path == Path::Splice) else {
        return Err(Box::new((client, session, choice.because)));
    };
    let hand_off = HandOff::begin(client, session, legs)?;
    world.choices.count(choice.because);
    tracing::debug!("leaving to the kernel");
    Ok(hand_off)
}
