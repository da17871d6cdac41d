//! TLS with a client that has just come, in time and in bounds.

use std::io::ErrorKind;

use tokio::net::TcpStream;
use tokio::time::{self, Instant};

use super::refuse::Refused;
use super::{Snapshot, World};
use crate::admission::pending::Slot;
use crate::listen::tls::Tls;
use crate::stream::Stream;

/// A client with which there is no TLS; its connection, where it can still be told something.
#[derive(Debug)]
pub(super) struct Rude(pub Option<Stream>, pub Refused);

pub(super) async fn greet(
    client: TcpStream,
    tls: &Tls,
    slot: Slot,
    until: Instant,
    (now, world): (&Snapshot, &World),
) -> Result<(Stream, Slot), Rude> {
    let shake = async {
        // Nothing is held for a client that says nothing.
        let spoke = client.readable().await;
        if spoke.is_ok() && !slot.begin_tls(&now.limits) {
            return Err(Rude(None, Refused::CrowdedOut(slot.crowded_out().await)));
        }
        tls.accept(client).await.map_err(|(error, client)| {
            let is_lost = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe];
            let refused = if error.kind() == ErrorKind::UnexpectedEof {
                Refused::Closed
            } else if is_lost.contains(&error.kind()) {
                Refused::Lost(error)
            } else {
                Refused::Tls(error)
            };
            Rude(Some(Stream::Plain(client)), refused)
        })
    };
    let shaken = tokio::select! {
        biased;
        shaken = time::timeout_at(until, shake) => shaken.ok(),
        why = slot.crowded_out() => Some(Err(Rude(None, Refused::CrowdedOut(why)))),
        () = world.stop.identifying.cancelled() => None,
    };
    let shaken = shaken.unwrap_or(Err(Rude(None, Refused::TooSlow)))?;
    Ok((Stream::Tls(Box::new(shaken)), slot))
}
