//! A connection that stays in the daemon: on the sockmap path, or on the copy path.

use std::sync::Arc;

use lb_common::client::Path;
use tokio::net::TcpStream;

use super::{Opened, Session, World};
use crate::drain::Rest;
use crate::kernel::sockmap::Legs;
use crate::relay::sockmap::{Pair, Tallies};
use crate::relay::{Because, copy, sockmap};
use crate::stream::Stream;

/// Carries it to its end, with no more memory than that takes: it may last for days.
pub(super) fn carry(
    mut client: Stream,
    session: Session,
    mut because: Because,
    world: Arc<World>,
) -> Rest {
    let legs = match &client {
        Stream::Plain(client) if because.path() == Path::Sockmap => legs(client, &session, &world),
        Stream::Plain(_) | Stream::Tls(_) => None,
    };
    if because.path() == Path::Sockmap && legs.is_none() {
        because = Because::Table;
    }
    world.choices.count(because);
    let Session {
        broker: Opened { mut broker, .. },
        pending,
        idle,
        seat,
        entry,
        ..
    } = session;
    let Some(mut entry) = entry else {
        tracing::debug!(because = because.label(), "relaying");
        // It is on no list, and has to look whether the daemon ends.
        return Box::pin(async move {
            let _seat = seat;
            let relay = copy::relay(&mut client, &mut broker, pending, idle, &world.copied, None);
            world.stop.carrying.run_until_cancelled(relay).await;
        });
    };
    entry.list(because.path());
    let number = entry.session();
    tracing::debug!(because = because.label(), number, "relaying");
    let place = (entry, seat);
    match (legs, client) {
        (Some(legs), Stream::Plain(client)) => Box::pin(async move {
            let (entry, _seat) = place;
            let carried = entry.carry();
            let tallies = Tallies {
                copied: &world.copied,
                moved: &world.moved,
            };
            let pair = Pair { client, broker };
            sockmap::relay(legs, pair, pending, idle, &tallies, &carried).await;
            tracing::debug!(number, "closed");
        }),
        (_, mut client) => Box::pin(async move {
            let (entry, _seat) = place;
            let carried = entry.carry();
            let (tally, carried) = (&world.copied, Some(&carried));
            copy::relay(&mut client, &mut broker, pending, idle, tally, carried).await;
            tracing::debug!(number, "closed");
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
