//! Whether a client that said who it is may come in, and when it is its turn.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpStream;

use super::refuse::{Pace, Refused};
use super::{Listener, Snapshot, World};
use crate::admission::Source;
use crate::admission::gate::{Gate, Token};
use crate::admission::seats::{Room, Seat};
use crate::mqtt::Version;
use crate::mqtt::connect::Connect;

/// Gives a client its seat.
pub(super) fn admit(
    connect: &Connect,
    [address, at]: [SocketAddr; 2],
    listener: &Listener,
    now: &Snapshot,
    world: &World,
) -> Result<Seat, Refused> {
    let version = connect.version();
    if !listener.versions.contains(&version) {
        return Err(Refused::VersionNotServed(version));
    }
    let (source, limits) = (Source::from(address.ip()), &now.limits);
    if let Some(rate) = limits.connects_per_client
        && let Err(held) = world.admission.ask(connect.client_id(), source, rate)
    {
        tracing::debug!(id = connect.client_id(), ?held, "held off");
        let pace = Pace::Client;
        return Err(Refused::TooFast { pace, version });
    }
    let room = Room {
        all: limits.max_connections,
        source: limits.max_connections_per_source,
        listener: listener.max_connections,
        addresses: &listener.addresses,
        in_daemon: world.admission.budget.shares(limits).in_daemon,
    };
    let at = SocketAddr::new(at.ip().to_canonical(), at.port());
    let seat = world.admission.seats.take(at, source, room);
    seat.map_err(|full| Refused::Full { full, version })
}

/// Does not count against a client id what was not the client's fault.
pub(super) fn forgive(
    refused: &Refused,
    id: &str,
    address: SocketAddr,
    world: &World,
    now: &Snapshot,
) {
    if let Some(rate) = now.limits.connects_per_client
        && !matches!(refused, Refused::GaveUp | Refused::Lost(_))
    {
        world.admission.forgive(id, address.ip().into(), rate);
    }
}

/// A client that waits for its turn, here and there, for so long in all.
#[derive(Debug)]
pub(super) struct Patience<'a> {
    client: &'a TcpStream,
    version: Version,
    /// A client that said more may have closed its sending side, and still want an answer.
    said_more: bool,
    left: Duration,
}

impl<'a> Patience<'a> {
    pub(super) fn new(
        client: &'a TcpStream,
        connect: &Connect,
        pipelined: &Bytes,
        limit: Duration,
    ) -> Self {
        Self {
            client,
            version: connect.version(),
            said_more: !pipelined.is_empty(),
            left: limit,
        }
    }

    /// Waits until the gate lets it through.
    pub(super) async fn pass<'g>(
        &mut self,
        gate: &'g Gate,
        pace: Pace,
    ) -> Result<Token<'g>, Refused> {
        let begin = tokio::time::Instant::now();
        let token = tokio::select! {
            biased;
            passed = gate.pass(self.left) => passed,
            () = self.gives_up() => return Err(Refused::GaveUp),
        };
        self.left = self.left.saturating_sub(begin.elapsed());
        let version = self.version;
        token.map_err(|_crowded| Refused::TooFast { pace, version })
    }

    /// Ends when the client has gone: a broker should not be troubled for it.
    async fn gives_up(&self) {
        match self.client.peek(&mut [0]).await {
            Ok(0) if !self.said_more => {}
            Err(_) => {}
            Ok(_) => std::future::pending().await,
        }
    }
}
