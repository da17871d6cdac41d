//! One client, from accept to close.
//!
//! ```text
//! accept ─▶ identify ─▶ choose ─▶ open ────────▶ register ─▶ relay
//!           one CONNECT  pool,    dial, CONNECT,  a row in    until both
//!           in time and  order    CONNACK; else   the tables  sides ended
//!           in bounds             the next one
//! ```
//!
//! Up to a backend's CONNACK the client has seen nothing, so a backend that fails can be replaced.

use std::net::SocketAddr;
use std::sync::Arc;

use lb_common::client::Path;
use tokio::net::TcpStream;

use crate::balance::Subject;
use crate::config::Limits;
use crate::counters::Counter;
use crate::mqtt::connack::First;
use crate::mqtt::connect::Connect;
use crate::registry::{Client, Entry, Registry};
use crate::relay::copy::{self, Pending, Tally};
use crate::upstream::{Backend, Pool};

mod identify;
mod open;
pub mod refuse;

use identify::Identified;
use open::Opened;
use refuse::{Refusals, Refused};

/// Everything a session may look at; shared by all of them.
#[derive(Debug)]
pub struct World {
    pub limits: Limits,
    pub listeners: Vec<Listener>,
    pub pools: Vec<Arc<Pool>>,
    pub registry: Arc<Registry>,
    pub refusals: Refusals,
    /// Bytes carried on the copy path.
    pub copied: Tally,
    /// Tells the Unix time in seconds.
    pub clock: fn() -> u64,
}

/// Where clients come in.
#[derive(Debug)]
pub struct Listener {
    pub name: String,
    pub addresses: Vec<SocketAddr>,
    pub pool: Arc<Pool>,
    pub accepted: Counter,
}

/// Serves one client until either side is done.
#[tracing::instrument(name = "session", level = "debug", skip_all, fields(client = %address))]
pub async fn run(mut client: TcpStream, address: SocketAddr, listener: &Listener, world: &World) {
    listener.accepted.add(1);
    if let Err(refused) = serve(&mut client, address, listener, world).await {
        tracing::debug!(reason = refused.reason().label(), "refused: {refused}");
        world.refusals.count(refused.reason());
        refuse::answer(client, &refused).await;
    }
}

async fn serve(
    client: &mut TcpStream,
    address: SocketAddr,
    listener: &Listener,
    world: &World,
) -> Result<(), Refused> {
    let Identified { connect, pipelined } = identify::identify(client, world.limits).await?;
    let subject = Subject {
        client_id: connect.client_id(),
        address: address.ip(),
    };
    let candidates = listener.pool.candidates(subject);
    let Opened {
        mut broker,
        backend,
        first,
        received,
    } = open::first(candidates, &connect, &listener.pool).await?;

    let entry = register(&connect, address, &first, &backend, world);
    tracing::debug!(id = connect.client_id(), backend = %backend.name, ?first, "opened");
    drop(connect);
    let pending = Pending {
        to_broker: pipelined,
        to_client: received,
    };
    copy::relay(client, &mut broker, pending, &world.copied).await;
    drop(entry);
    tracing::debug!("closed");
    Ok(())
}

/// A row for a client that the backend took; a client it refused gets none.
fn register(
    connect: &Connect,
    address: SocketAddr,
    first: &First,
    backend: &Arc<Backend>,
    world: &World,
) -> Option<Entry> {
    let (assigned_id, server_keep_alive) = match first {
        First::Connack(connack) if !connack.is_accepted() => return None,
        First::Connack(connack) => (
            connack.assigned_client_id.as_deref(),
            connack.server_keep_alive,
        ),
        First::Auth => (None, None),
    };
    let client = Client {
        id: assigned_id.unwrap_or_else(|| connect.client_id()),
        address,
        version: connect.version(),
        keep_alive: server_keep_alive.unwrap_or_else(|| connect.keep_alive()),
        clean_start: connect.clean_start(),
        path: Path::Copy,
        since: (world.clock)(),
    };
    Some(world.registry.open(&client, backend))
}
