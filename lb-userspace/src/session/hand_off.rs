//! From a session of the daemon to a connection of the kernel.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use lb_common::client::Path;
use lb_common::flow::FlowKey;
use nix::time::{ClockId, clock_gettime};
use tokio::net::TcpStream;

use super::{Listener, Session, World};
use crate::config::DataPath;
use crate::counters::Counter;
use crate::kernel::conntrack;
use crate::kernel::flows::{End, Labels, Pair, arriving, flow_addresses};
use crate::kernel::grace::Grace;
use crate::kernel::leg::{Agreed, Leg};
use crate::kernel::ports::{Port, Ports};
use crate::kernel::route::{self, Route};
use crate::kernel::sweep::Ended;
use crate::registry::Entry;
use crate::relay::copy::Pending;
use crate::relay::splice::Leaving;
use crate::relay::{Because, Choice, Facts, choose as choose_path};

/// Seconds a client may be late, on top of one and a half times its keep alive.
const MARGIN: u32 = 5;
/// Seconds after which a client without a keep alive is taken for lost.
const WITHOUT_KEEP_ALIVE: u32 = 24 * 60 * 60;

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
    port: Option<Port>,
    /// Who opened the two connections, and to whom.
    connections: [[SocketAddr; 2]; 2],
}

/// Gathers the facts of a connection and picks its path.
pub(super) fn choose(
    client: &TcpStream,
    session: &Session,
    listener: &Listener,
    world: &World,
) -> Choice {
    let copy = |because| Choice {
        path: Path::Copy,
        because,
    };
    if listener.datapath == DataPath::Copy {
        return copy(Because::Wish);
    }
    if world.splicer.is_none() {
        return copy(Because::Kernel);
    }
    match facts(client, session, world) {
        Ok(facts) => {
            let choice = choose_path(&facts);
            if choice.because == Because::Mss {
                // Too late for this client, in time for the next.
                listener.segment_limit.shrink_to(facts.broker_takes);
            }
            choice
        }
        Err(error) => {
            tracing::debug!(%error, "a leg cannot be looked at");
            copy(Because::Closing)
        }
    }
}

fn facts(client: &TcpStream, session: &Session, world: &World) -> io::Result<Facts> {
    let broker = &session.broker.broker;
    let keys = [arriving_from(client)?, arriving_from(broker)?];
    let handshakes = world
        .registry
        .with_tables(|tables| keys.map(|key| tables.take_handshake(&key)));
    let [from_client, from_broker] = handshakes.unwrap_or_default();
    let agreed = Agreed::of(broker)?;
    let headers = if broker.peer_addr()?.is_ipv4() {
        40
    } else {
        60
    };
    let fits = agreed.path_mtu.saturating_sub(headers);
    Ok(Facts {
        accepted: session.entry.is_some(),
        same_family: client.peer_addr()?.is_ipv4() == broker.peer_addr()?.is_ipv4(),
        remote: [way(client)?.is_remote, way(broker)?.is_remote],
        port: session.broker.port.is_some(),
        seen: from_client.is_some() && from_broker.is_some(),
        client: Agreed::of(client)?,
        broker: agreed,
        broker_takes: from_broker.map_or(0, |handshake| handshake.mss.min(fits)),
    })
}

fn arriving_from(socket: &TcpStream) -> io::Result<FlowKey> {
    let peer = canonical(socket.peer_addr()?);
    Ok(arriving(peer, canonical(socket.local_addr()?)))
}

fn way(socket: &TcpStream) -> io::Result<Route> {
    route::to(socket.peer_addr()?.ip(), Some(socket.local_addr()?.ip()))
}

impl HandOff {
    /// Puts the connection into the kernel; gives it back, with the reason, where that does not work.
    pub(super) fn begin(
        client: TcpStream,
        session: Session,
    ) -> Result<Self, Box<(TcpStream, Session, Because)>> {
        let spliced = match (&session.entry, Self::pair(&client, &session)) {
            (Some(entry), Ok((pair, next_send))) => entry
                .splice(&pair, next_send)
                .map(|()| (Arc::clone(entry.registry()), pair, next_send))
                .map_err(|error| {
                    tracing::debug!(%error, "no room for a flow");
                    Because::Table
                }),
            (_, Err(error)) => {
                tracing::debug!(%error, "a leg cannot be looked at");
                Err(Because::Closing)
            }
            (None, Ok(_)) => Err(Because::Refused),
        };
        let (registry, pair, next_send) = match spliced {
            Ok(spliced) => spliced,
            Err(because) => return Err(Box::new((client, session, because))),
        };
        let Session {
            broker,
            pending,
            entry,
            ..
        } = session;
        let keys = [pair.from_client.0, pair.from_broker.0];
        let [listener, client_address] = flow_addresses(&pair.from_broker.1);
        let [source, broker_address] = flow_addresses(&pair.from_client.1);
        Ok(Self {
            leaving: Leaving::new(registry, keys, [client, broker.broker], next_send),
            pending,
            entry,
            port: broker.port,
            connections: [[client_address, listener], [source, broker_address]],
        })
    }

    fn pair(client: &TcpStream, session: &Session) -> io::Result<(Pair, [u32; 2])> {
        let entry = session.entry.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC)?;
        let labels = Labels {
            session: entry.session(),
            backend: entry.backend().number,
            kept: entry.kept(),
            idle_seconds: match u32::from(session.keep_alive) {
                0 => WITHOUT_KEEP_ALIVE,
                seconds => seconds + seconds / 2 + MARGIN,
            },
            now: std::time::Duration::from(now)
                .as_nanos()
                .try_into()
                .unwrap_or(u64::MAX),
        };
        let client = end(client, 0)?;
        let broker = end(&session.broker.broker, session.connect_bytes as u64)?;
        if !client.leg.agreed.is_open || !broker.leg.agreed.is_open {
            return Err(io::ErrorKind::NotConnected.into());
        }
        let next_send = [client.leg.next_send, broker.leg.next_send];
        Ok((Pair::new(&client, &broker, labels), next_send))
    }

    /// Leaves; the connection is the kernel's, or it has been reset.
    pub async fn complete(self, splicer: &Splicer) {
        let Self {
            leaving,
            pending,
            entry,
            port,
            connections,
        } = self;
        match leaving.leave(pending, &splicer.grace).await {
            Ok(()) => {
                splicer.left.add(1);
                if splicer.is_tracked {
                    forget(connections);
                }
                if let Some(entry) = entry {
                    entry.leave_to_flow();
                }
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

fn forget(connections: [[SocketAddr; 2]; 2]) {
    for [from, to] in connections {
        if let Err(error) = conntrack::forget(from, to) {
            tracing::debug!(%error, %from, %to, "stays in the table of tracked connections");
        }
    }
}

fn end(socket: &TcpStream, written: u64) -> io::Result<End> {
    let peer = canonical(socket.peer_addr()?);
    let local = canonical(socket.local_addr()?);
    Ok(End {
        leg: Leg::read(socket)?,
        peer,
        local,
        interface: way(socket)?.interface,
        written,
    })
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
