//! The sockmap path: the kernel moves bytes between two sockets of the daemon, which sleeps.
//!
//! A stream, one direction, is in one of two states:
//!
//! - **carried**: what arrives goes to the other socket at once, past the daemon;
//! - **passed**: what arrives stays in its socket, and the daemon copies it. Nothing more than the
//!   receive buffer takes can arrive, so this holds the sender back as on the copy path.
//!
//! A stream begins as passed. The kernel half passes as soon as the receiver has no room; it says so
//! once. The daemon lets it carry again when it has copied all that was passed. What keeps the order:
//!
//! 1. **The kernel half carries only while the daemon has copied just as much as was passed.** The
//!    daemon writes that number after it has written the bytes, and then reads once more: a segment
//!    that was judged by the number before has been counted by then, since a read and a verdict hold
//!    the same lock. If it cannot be read yet, the daemon waits until it can.
//! 2. **The daemon writes only after all that was carried is in the receiver's send queue.** As long
//!    as it has something to write nothing more is carried, so it waits for a number that stands.
//! 3. **A socket is put into the map when it has just been read empty.** The kernel half sees whole
//!    segments; of one that was read in part it would see the part twice.
//! 4. **A FIN is passed on when both are done**: nothing passed is left, and all that was carried is
//!    in the send queue.

use std::io;
use std::net::TcpStream;
use std::time::Duration;

use socket2::SockRef;
use tokio::task::coop;
use tokio::time;

mod step;

use step::{End, Stream, Wait};

use super::copy::{self, Pending, Tally};
use crate::evict::Because;
use crate::kernel::leg;
use crate::kernel::sockmap::{Expected, Legs};
use crate::registry::carried::{Carried, Told};

/// The first and the longest pause while the kernel still has to queue what it carried.
const FIRST_LOOK: Duration = Duration::from_millis(1);
const LAST_LOOK: Duration = Duration::from_millis(100);

/// Where bytes are counted, by who moved them: the daemon, the kernel.
#[derive(Debug)]
pub struct Tallies<'a> {
    pub copied: &'a Tally,
    pub moved: &'a Tally,
}

/// The sockets of a connection.
#[derive(Debug)]
pub struct Pair {
    pub client: tokio::net::TcpStream,
    pub broker: tokio::net::TcpStream,
}

/// What ends a session that has not failed.
enum Over {
    Ended,
    Told(Told),
    Silence,
}

/// Relays until both streams have ended, the session is told to end, or nothing has come from the
/// client for as long as `idle` allows; counts as it goes.
pub async fn relay(
    legs: Legs,
    Pair { client, broker }: Pair,
    pending: Pending,
    idle: Option<Duration>,
    tallies: &Tallies<'_>,
    carried: &Carried,
) {
    // From here on there is news of them by `legs` alone.
    let (Ok(client), Ok(broker)) = (client.into_std(), broker.into_std()) else {
        return;
    };
    let sockets = [client, broker];
    let streams = [
        Stream::new(0, pending.to_broker, &tallies.copied.from_client),
        Stream::new(1, pending.to_client, &tallies.copied.from_broker),
    ];
    let mut relay = Relay {
        legs,
        sockets: &sockets,
        streams,
    };
    let result = tokio::select! {
        ended = relay.run() => ended.map(|()| Over::Ended),
        told = carried.told() => Ok(Over::Told(told)),
        () = copy::silent(|| leg::silence(&sockets[0]), idle) => Ok(Over::Silence),
    };
    tallies.moved.from_client.add(relay.legs.moved(0).carried);
    tallies.moved.from_broker.add(relay.legs.moved(1).carried);
    let Relay { legs, streams, .. } = relay;
    let [client, broker] = sockets;
    match result {
        Err(error) => {
            legs.sockmap().aborted.add(1);
            tracing::debug!(%error, "reset on the sockmap path");
            reset(&client);
            reset(&broker);
        }
        Ok(Over::Silence) => {
            tallies.moved.idle.add(1);
            tracing::debug!("client is silent, and taken for lost");
            reset(&client);
            reset(&broker);
        }
        Ok(Over::Told(Told::Stopped)) => {}
        Ok(Over::Told(Told::Evicted(because))) => {
            drop(legs);
            part(client, broker, Some(because), streams[0].end).await;
        }
        Ok(Over::Ended) => {
            drop(legs);
            part(client, broker, None, streams[0].end).await;
        }
    }
}

fn reset(socket: &TcpStream) {
    if let Err(error) = SockRef::from(socket).set_linger(Some(Duration::ZERO)) {
        tracing::debug!(%error, "closed without a reset");
    }
}

/// Says the last words, as on the copy path.
async fn part(client: TcpStream, broker: TcpStream, told: Option<Because>, up: Option<End>) {
    let from_std = tokio::net::TcpStream::from_std;
    let (Ok(client), Ok(broker)) = (from_std(client), from_std(broker)) else {
        return;
    };
    if let Some(because) = told {
        copy::dismiss(&client, &broker, because).await;
    } else if up == Some(End::Receiver) {
        drop(broker);
        copy::linger(&client).await;
    }
}

#[derive(Debug)]
struct Relay<'s, 't> {
    legs: Legs,
    sockets: &'s [TcpStream; 2],
    streams: [Stream<'t>; 2],
}

impl Relay<'_, '_> {
    async fn run(&mut self) -> io::Result<()> {
        let mut pause = FIRST_LOOK;
        let mut progress = (u64::MAX, time::Instant::now());
        loop {
            coop::consume_budget().await;
            let waits = [self.step(0)?, self.step(1)?];
            if self.streams.iter().all(|stream| stream.end.is_some()) {
                return Ok(());
            }
            if waits.contains(&Wait::Nothing) {
                tokio::task::yield_now().await;
                continue;
            }
            self.expect(waits)?;
            let is_settling = waits.contains(&Wait::Settled);
            let is_half = waits.contains(&Wait::Other);
            let longest = if is_settling {
                pause
            } else {
                copy::HALF_CLOSED_IDLE
            };
            if !is_settling && !is_half {
                self.legs.news().await;
                pause = FIRST_LOOK;
                progress = (u64::MAX, time::Instant::now());
                continue;
            }
            if time::timeout(longest, self.legs.news()).await.is_ok() && !is_settling {
                continue;
            }
            pause = (pause * 2).min(LAST_LOOK);
            let moved = self.moved();
            if moved != progress.0 {
                progress = (moved, time::Instant::now());
            } else if progress.1.elapsed() >= copy::HALF_CLOSED_IDLE {
                return self.fall_silent(is_settling);
            }
        }
    }

    /// All bytes there were, by either way.
    fn moved(&self) -> u64 {
        let moved = |stream: &Stream<'_>| self.legs.moved(stream.from).carried + stream.copied;
        self.streams.iter().map(moved).sum()
    }

    fn fall_silent(&mut self, is_settling: bool) -> io::Result<()> {
        if is_settling {
            return Err(io::ErrorKind::TimedOut.into());
        }
        for stream in &mut self.streams {
            stream.end.get_or_insert(End::Silence);
        }
        Ok(())
    }

    fn expect(&mut self, waits: [Wait; 2]) -> io::Result<()> {
        for leg in [0, 1] {
            let expected = Expected {
                readable: waits[leg] == Wait::Readable,
                writable: waits[1 - leg] == Wait::Writable,
            };
            self.legs.expect(leg, &self.sockets[leg], expected)?;
        }
        Ok(())
    }
}
