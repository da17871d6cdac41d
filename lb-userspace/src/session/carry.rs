//! A connection that stays in the daemon: on the sockmap path, or on the copy path.

use std::pin::Pin;

use lb_common::client::Path;
use tokio::net::TcpStream;

use super::{Opened, Session, World};
use crate::kernel::sockmap::Legs;
use crate::registry::Entry;
use crate::relay::sockmap::{Pair, Tallies};
use crate::relay::{Because, copy, sockmap};

/// Carries it to its end, with no more memory than that takes: it may last for days.
pub(super) fn carry(
    mut client: TcpStream,
    session: Session,
    mut because: Because,
    world: &World,
) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
    let legs = if because.path() == Path::Sockmap {
        legs(&client, &session, world)
    } else {
        None
    };
    if because.path() == Path::Sockmap && legs.is_none() {
        because = Because::Table;
    }
    world.choices.count(because);
    tracing::debug!(because = because.label(), "relaying");
    let Session {
        broker: Opened { mut broker, .. },
        pending,
        idle,
        seat,
        mut entry,
        ..
    } = session;
    if let Some(entry) = &mut entry {
        entry.list(because.path());
    }
    let place = (entry, seat);
    match legs {
        Some(legs) => Box::pin(async move {
            let (entry, _seat) = place;
            let carried = entry.as_ref().map(Entry::carry);
            let tallies = Tallies {
                copied: &world.copied,
                moved: &world.moved,
            };
            let pair = Pair { client, broker };
            sockmap::relay(legs, pair, pending, idle, &tallies, carried.as_ref()).await;
            tracing::debug!("closed");
        }),
        None => Box::pin(async move {
            let (entry, _seat) = place;
            let carried = entry.as_ref().map(Entry::carry);
            let (tally, carried) = (&world.copied, carried.as_ref());
            copy::relay(&mut client, &mut broker, pending, idle, tally, carried).await;
            tracing::debug!("closed");
        }),
    }
}

fn legs(client: &TcpStream, session: &Session, world: &World) -> Option<Legs> {
    let limit = session.sockmap_queue_bytes;
    let legs = Legs::begin(
        world.sockmap.as_ref()?,
        [client, &session.broker.broker],
        limit,
    );
    legs.inspect_err(|error| tracing::debug!(%error, "no room on the sockmap path"))
        .ok()
}
