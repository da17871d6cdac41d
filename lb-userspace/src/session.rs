//! One client, from accept until it is carried by the kernel or has gone.
//!
//! ```text
//! accept ─▶ identify ─▶ admit ─▶ choose ─▶ open ────────▶ register ─▶ relay
//!           one CONNECT  a seat,  pool,     dial, CONNECT,  a row in    splice: leave it to the kernel
//!           in time and  in its   order     CONNACK; else   the tables  copy: until both sides ended
//!           in bounds    turn               the next one
//! ```
//!
//! Where TLS ends here, hands are shaken before, in the same time (`greet`).
//!
//! Up to a backend's CONNACK the client has seen nothing, so a backend that fails can be replaced.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lb_common::client::Path;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::admission::pending::Slot;
use crate::admission::seats::Seat;
use crate::balance::Subject;
use crate::config::DataPath;
use crate::counters::OneMore;
use crate::dial::Shape;
use crate::drain::Rest;
use crate::kernel::leg::Agreed;
use crate::mqtt::connack::First;
use crate::mqtt::connect::Connect;
use crate::proxy;
use crate::registry::{Client, Entry};
use crate::relay::Because;
use crate::relay::copy::Pending;
use crate::stream::Stream;

mod admit;
mod carry;
mod greet;
mod hand_off;
mod identify;
mod idle;
mod open;
mod place;
mod reach;
pub mod refuse;
mod world;

use admit::Patience;
use greet::Rude;
pub use hand_off::{Endings, HandOff, Splicer};
use identify::Identified;
use open::{Introduction, Opened};
pub use place::{Place, Route};
pub use reach::{Recall, recall};
use refuse::{Pace, Refused};
pub use world::{Lasting, Listener, Snapshot, World};

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
    let room = world.admission.budget.shares(&now.limits).pending;
    let slot = world.admission.pending.enter(address.ip().into(), room);
    let until = Instant::now() + now.limits.connect_timeout;
    let greeted = match &listener.tls {
        None => Ok((Stream::Plain(client), slot)),
        // In memory of its own, which clients without TLS need not have.
        Some(tls) => Box::pin(greet::greet(client, tls, slot, until, (now, world))).await,
    };
    let (mut client, slot) = match greeted {
        Ok(greeted) => greeted,
        Err(Rude(client, refused)) => return Some(turn_away(client, refused, world)),
    };
    let opened = open(&mut client, (slot, until), address, listener, now, world).await;
    Some(rest(opened, client, (listener, world), coming))
}

fn rest(
    opened: Result<Session, Refused>,
    client: Stream,
    (listener, world): (&Listener, &Arc<World>),
    coming: OneMore<'_>,
) -> Rest {
    let session = match opened {
        Ok(session) => session,
        Err(refused) => return turn_away(Some(client), refused, world),
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

/// Tells a client why it is refused, where it is still there.
fn turn_away(client: Option<Stream>, refused: Refused, world: &Arc<World>) -> Rest {
    tracing::debug!(reason = refused.reason().label(), "refused: {refused}");
    world.refusals.count(refused.reason());
    let world = Arc::clone(world);
    Box::pin(async move {
        if let Some(client) = client {
            refuse::answer(client, &refused, &world.refusals).await;
        }
    })
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
    client: &mut Stream,
    (slot, until): (Slot, Instant),
    address: SocketAddr,
    listener: &Listener,
    now: &Snapshot,
    world: &World,
) -> Result<Session, Refused> {
    let identified = identify::identify(client, &now.limits, slot, until);
    let identified = world.stop.identifying.run_until_cancelled(identified).await;
    let identified = identified.unwrap_or(Err(Refused::TooSlow))?;

    let connect = identified.connect.clone();
    let addresses = [
        address,
        client.socket().local_addr().map_err(Refused::Lost)?,
    ];
    let seat = admit::admit(&connect, addresses, listener, now, world)?;
    let served = serve(client, identified, addresses, seat, (listener, now, world)).await;
    served.inspect_err(|refused| {
        admit::forgive(refused, connect.client_id(), address, world, now);
    })
}

/// Finds a backend for a client that has a seat, when it is its turn.
async fn serve(
    client: &Stream,
    Identified {
        connect,
        pipelined,
        held,
    }: Identified,
    addresses: [SocketAddr; 2],
    seat: Seat,
    (listener, now, world): (&Listener, &Snapshot, &World),
) -> Result<Session, Refused> {
    let mut patience = Patience::new(
        client.socket(),
        &connect,
        &pipelined,
        now.limits.queue_timeout,
    );
    patience.pass(&listener.gate, Pace::Listener).await?;

    let subject = Subject {
        client_id: connect.client_id(),
        address: addresses[0].ip(),
    };
    let traits = place::traits(&connect, addresses[0].ip(), listener, client);
    let Place { route, pool } = now.place(listener, &traits);
    tracing::debug!(route, pool = pool.name, "belongs");
    let splicer = world
        .splicer
        .as_ref()
        .filter(|_| matches!(listener.datapath, DataPath::Auto | DataPath::Splice))
        .filter(|_| listener.tls.is_none())
        .filter(|_| !world.is_released());
    let shape = || {
        Some(Shape {
            ports: &splicer?.ports,
            registry: &world.registry,
            client: Agreed::of(client.socket()).ok()?,
        })
    };
    let introduction = Introduction {
        header: proxy::header(pool.proxy_protocol, addresses),
        connect: &connect,
    };
    let (mut broker, expected, recall) =
        reach::reach(&introduction, subject, pool, world, shape, patience).await?;
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
    client: Stream,
    session: Session,
    listener: &Listener,
    world: &World,
) -> Result<HandOff, Box<(Stream, Session, Because)>> {
    let client = match client {
        Stream::Plain(client) => client,
        Stream::Tls(_) => return Err(Box::new((client, session, Because::Tls))),
    };
    let (choice, legs) = hand_off::choose(&client, &session, listener, world);
    let Some(legs) = legs.filter(|_| choice.path == Path::Splice) else {
        let stays = (Stream::Plain(client), session, choice.because);
        return Err(Box::new(stays));
    };
    let splicer = world.splicer.as_ref();
    let is_tracked = splicer.is_some_and(|splicer| splicer.is_tracked);
    let hand_off = HandOff::begin(client, session, legs, is_tracked).map_err(|stays| {
        let (client, session, because) = *stays;
        Box::new((Stream::Plain(client), session, because))
    })?;
    world.choices.count(choice.because);
    tracing::debug!("leaving to the kernel");
    Ok(hand_off)
}
