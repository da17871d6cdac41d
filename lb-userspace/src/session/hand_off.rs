//! From a session of the daemon to a connection of the kernel.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lb_common::client::Path;
use tokio::net::TcpStream;

use super::{Listener, Session, World};
use crate::admission::seats::Seat;
use crate::config::DataPath;
use crate::counters::Counter;
use crate::evict;
use crate::kernel::conntrack;
use crate::kernel::flows::{End, Labels, Pair, arriving, now};
use crate::kernel::grace::Grace;
use crate::kernel::leg::Leg;
use crate::kernel::ports::{Port, Ports};
use crate::kernel::route::{self, LOOPBACK, Route};
use crate::kernel::sweep::Ended;
use crate::kernel::tables::Tables;
use crate::registry::Entry;
use crate::registry::carried::Told;
use crate::relay::copy::Pending;
use crate::relay::splice::{Aborted, Installed, Leaving};
use crate::relay::{Able, Because, Choice, Facts, choose as choose_path};

/// What it takes to leave connections to the kernel.
#[derive(Debug)]
pub struct Splicer {
    pub grace: Arc<Grace>,
    pub ports: Arc<Ports>,
    /// The host tracks connections, and has to forget those that leave.
    pub is_tracked: bool,
    /// Connections that left.
    pub left: Counter,
    /// Connections that were reset on the way.
    pub aborted: Counter,
    /// Connections that were in the kernel and have ended.
    pub ended: Endings,
}

/// Connections by how they ended.
#[derive(Debug, Default)]
pub struct Endings([Counter; Ended::ALL.len()]);

impl Endings {
    pub fn count(&self, ended: Ended) {
        self.0[ended as usize].add(1);
    }

    pub fn each(&self) -> impl Iterator<Item = (Ended, u64)> {
        Ended::ALL
            .into_iter()
            .map(|ended| (ended, self.0[ended as usize].value()))
    }
}

/// A connection that is in the kernel and still has to be left alone there.
#[derive(Debug)]
pub struct HandOff {
    leaving: Leaving,
    pending: Pending,
    entry: Option<Entry>,
    seat: Seat,
    port: Option<Port>,
    /// Who opened the connections whose packets pass netfilter no more, and to whom.
    untracked: [Option<[SocketAddr; 2]>; 2],
}

/// Both legs of a connection, the client's first, as they are at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Legs([End; 2]);

/// Gathers the facts of a connection and picks its path; with the legs, where they may be needed.
pub(super) fn choose(
    client: &TcpStream,
    session: &Session,
    listener: &Listener,
    world: &World,
) -> (Choice, Option<Legs>) {
    let copy = |because| {
        let path = Path::Copy;
        (Choice { path, because }, None)
    };
    let is_ours = !world.is_released();
    let able = Able {
        splice: is_ours && world.splicer.is_some(),
        sockmap: is_ours && world.sockmap.is_some(),
    };
    // Before anything is asked of the kernel, which may not allow it.
    match listener.datapath {
        DataPath::Copy => return copy(Because::Wish),
        DataPath::Sockmap if !able.sockmap => return copy(Because::NoSockmap),
        DataPath::Auto | DataPath::Splice if !able.splice => return copy(Because::Kernel),
        DataPath::Sockmap | DataPath::Auto | DataPath::Splice => {}
    }
    match facts(client, session, world) {
        Ok((facts, legs)) => {
            let choice = choose_path(listener.datapath, able, &facts);
            if choice.because == Because::Mss {
                // Too late for this client, in time for the next.
                listener.segment_limit.shrink_to(facts.broker_takes);
            }
            (choice, Some(legs))
        }
        Err(error) => {
            tracing::debug!(%error, "a leg cannot be looked at");
            copy(Because::Closing)
        }
    }
}

fn facts(client: &TcpStream, session: &Session, world: &World) -> io::Result<(Facts, Legs)> {
    let broker = &session.broker.broker;
    let [broker_local, broker_peer] = match &session.broker.port {
        Some(port) => port.ends(),
        None => [broker.local_addr()?, broker.peer_addr()?],
    };
    let [client_peer, client_local] = session.addresses;
    let Pending {
        to_broker,
        to_client,
    } = &session.pending;
    let asked = session.connect_bytes;
    let [up, down] = [
        (asked + to_broker.len(), 0),
        (to_client.len(), asked as u64),
    ];
    let ways = route::both([[client_peer, client_local], [broker_peer, broker_local]])?;
    let from = end(client, [client_peer, client_local], up, &ways[0])?;
    let to = end(broker, [broker_peer, broker_local], down, &ways[1])?;
    let [from_client, from_broker] = [&from, &to].map(|end| {
        let key = arriving(end.peer, end.local);
        let take = |tables: &mut Tables| tables.take_handshake(&key);
        world.registry.with_tables(take).flatten()
    });
    let headers = if broker_peer.is_ipv4() { 40 } else { 60 };
    let fits = to.leg.agreed.path_mtu.saturating_sub(headers);
    let facts = Facts {
        accepted: session.entry.is_some(),
        same_family: from.peer.is_ipv4() == to.peer.is_ipv4(),
        reachable: ways.map(|way| way.is_open),
        port: session.broker.port.is_some(),
        seen: from_client.is_some() && from_broker.is_some(),
        client: from.leg.agreed,
        broker: to.leg.agreed,
        broker_takes: from_broker.map_or(0, |handshake| handshake.mss.min(fits)),
    };
    Ok((facts, Legs([from, to])))
}

/// One leg, between a peer and this host; so many bytes have been read from its socket, and so many of
/// the other leg's written to it.
fn end(
    socket: &TcpStream,
    [peer, local]: [SocketAddr; 2],
    (taken, written): (usize, u64),
    way: &Route,
) -> io::Result<End> {
    Ok(End {
        leg: Leg::read(socket, taken)?,
        peer: canonical(peer),
        local: canonical(local),
        interface: way.interface,
        written,
    })
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

impl HandOff {
    /// Puts the connection into the kernel; gives it back, with the reason, where that does not work.
    pub(super) fn begin(
        client: TcpStream,
        mut session: Session,
        Legs([from, to]): Legs,
        is_tracked: bool,
    ) -> Result<Self, Box<(TcpStream, Session, Because)>> {
        let Some(entry) = &mut session.entry else {
            return Err(Box::new((client, session, Because::Refused)));
        };
        let opened = [[from.peer, from.local], [to.local, to.peer]];
        if is_tracked && conntrack::has_any() {
            trust(opened);
        }
        // Packets of a leg on this host go on to pass netfilter.
        let untracked = [
            (from.interface != LOOPBACK).then_some(opened[0]),
            (to.interface != LOOPBACK).then_some(opened[1]),
        ];
        let registry = Arc::clone(entry.registry());
        let pair = Pair::new(&from, &to, labels(entry, session.idle));
        let until = [
            after(from.leg.next_send, &session.pending.to_client),
            after(to.leg.next_send, &session.pending.to_broker),
        ];
        // Before the flows are there, so that nothing they tell is missed.
        let watched = registry.leaving.watch(
            entry.session(),
            [from, to].map(|end| end.leg.first_unacknowledged),
        );
        let number = entry.session();
        if let Err(error) = entry.splice(&pair, until) {
            tracing::debug!(%error, "no room for a flow");
            return Err(Box::new((client, session, Because::Table)));
        }
        let Session {
            broker,
            pending,
            entry,
            seat,
            ..
        } = session;
        let installed = Installed {
            keys: [pair.from_client.0, pair.from_broker.0],
            session: number,
            until,
            watched,
        };
        Ok(Self {
            leaving: Leaving::new(registry, installed, [client, broker.broker]),
            pending,
            entry,
            seat,
            port: broker.port,
            untracked,
        })
    }

    /// Leaves; the connection is the kernel's, or it has been reset.
    pub async fn complete(self, splicer: &Splicer) {
        let Self {
            leaving,
            pending,
            entry,
            seat,
            port,
            untracked,
        } = self;
        let left = tokio::select! {
            left = leaving.leave(pending, &splicer.grace) => left,
            _ = told(entry.as_ref()) => Err(Aborted::Evicted),
        };
        match left {
            Ok(()) => {
                splicer.left.add(1);
                if splicer.is_tracked && conntrack::has_any() {
                    forget(untracked);
                }
                if let Some(entry) = entry {
                    entry.leave_to_flow();
                }
                seat.leave_to_flow();
                if let Some(port) = port {
                    port.leave_to_flow();
                }
            }
            Err(error) => {
                splicer.aborted.add(1);
                tracing::debug!(%error, "reset on its way into the kernel");
            }
        }
    }
}

/// Ends where the session is to end before it has left.
async fn told(entry: Option<&Entry>) -> evict::Because {
    match entry.map(Entry::carry) {
        Some(carried) => match carried.told().await {
            Told::Evicted(because) => because,
            // It is left alone as soon as it can be.
            Told::Stopped => std::future::pending().await,
        },
        None => std::future::pending().await,
    }
}

/// Has netfilter let pass what overtakes bytes that the daemon still has to write, and acknowledgments of
/// what it has not seen.
fn trust(opened: [[SocketAddr; 2]; 2]) {
    for [from, to] in opened {
        if let Err(error) = conntrack::be_liberal(from, to) {
            tracing::debug!(%error, %from, %to, "its segments may be taken for invalid");
        }
    }
}

fn forget(untracked: [Option<[SocketAddr; 2]>; 2]) {
    for [from, to] in untracked.into_iter().flatten() {
        if let Err(error) = conntrack::forget(from, to) {
            tracing::debug!(%error, %from, %to, "stays in the table of tracked connections");
        }
    }
}

fn labels(entry: &Entry, idle: Option<Duration>) -> Labels {
    Labels {
        session: entry.session(),
        client: *entry.client(),
        backend: entry.backend().number,
        kept: entry.kept(),
        idle_seconds: idle.map_or(0, |idle| u32::try_from(idle.as_secs()).unwrap_or(u32::MAX)),
        now: now().as_nanos().try_into().unwrap_or(u64::MAX),
    }
}

/// The number behind bytes that begin with number `next`.
fn after(next: u32, bytes: &[u8]) -> u32 {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "sequence space is modulo 2^32"
    )]
    next.wrapping_add(bytes.len() as u32)
}
