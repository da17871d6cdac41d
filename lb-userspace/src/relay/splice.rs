//! The hand-off: an established connection leaves the daemon.
//!
//! What makes it safe, in the order it happens:
//!
//! 1. **The shifts never change.** The daemon relays byte for byte, so they can be worked out at any
//!    moment, whatever it still has to write (`kernel::flows`).
//! 2. **Install.** From now on segments of both legs travel in the kernel, each byte in the place of
//!    sequence space that it would have had anyway. Where it overtakes bytes that the daemon still
//!    has, the receiver's TCP puts them together.
//! 3. **Write** what the daemon still has, and whatever reaches its sockets before a grace period has
//!    passed. After that nothing can reach them (`kernel::grace`), so nothing that a socket has
//!    acknowledged is left behind in it. The two directions do not wait for each other.
//! 4. **Watch.** The sockets send their last bytes again until these are acknowledged. The kernel half
//!    leaves them the acknowledgments they need, remembers the highest, and tells of the last.
//! 5. **Leave.** Both sockets are closed without a word.
//!
//! A connection takes the time that its ends take. One whose socket fails, or whose client is lost, is
//! reset on both legs; it is never owned by two.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lb_common::flow::{Flow, FlowKey, STATE_CLOSED};
use socket2::SockRef;
use thiserror::Error;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time;
use tokio_util::sync::CancellationToken;

use super::copy::{self, Pending};
use crate::kernel::flows::now;
use crate::kernel::grace::Grace;
use crate::kernel::leg::{has_unacknowledged, vanish};
use crate::kernel::sweep::is_lost;
use crate::kernel::tables::flows::LastWord;
use crate::registry::Registry;
use crate::registry::leaving::{News, Watched};

/// The first and the longest pause between two looks for what nobody told of.
const FIRST_LOOK: Duration = Duration::from_millis(50);
const LAST_LOOK: Duration = Duration::from_secs(5);
/// Well before the first keep-alive probe (`listen`).
const HUSH_AFTER: Duration = Duration::from_secs(60);

/// Why a connection could not leave and was reset.
#[derive(Debug, Error)]
pub enum Aborted {
    #[error("its backend gets rid of its connections")]
    Evicted,
    #[error("a socket failed")]
    Socket(#[from] io::Error),
    #[error("the client has not been heard of for too long")]
    Lost,
}

/// A connection that is in the kernel, with sockets still in the daemon.
#[derive(Debug)]
pub struct Leaving {
    registry: Arc<Registry>,
    keys: [FlowKey; 2],
    session: u64,
    /// What client and broker have to acknowledge.
    until: [u32; 2],
    watched: Watched,
    /// The client's and the broker's.
    sockets: Option<[TcpStream; 2]>,
}

/// What has been installed of a connection, client first.
#[derive(Debug)]
pub struct Installed {
    pub keys: [FlowKey; 2],
    pub session: u64,
    /// What is to be acknowledged when all that is pending is written.
    pub until: [u32; 2],
    pub watched: Watched,
}

impl Leaving {
    /// Takes over the sockets, client first, of a connection that has just been installed.
    pub fn new(registry: Arc<Registry>, installed: Installed, sockets: [TcpStream; 2]) -> Self {
        let Installed {
            keys,
            session,
            until,
            watched,
        } = installed;
        Self {
            registry,
            keys,
            session,
            until,
            watched,
            sockets: Some(sockets),
        }
    }

    /// Writes what is left, waits until it has arrived, and leaves.
    ///
    /// # Errors
    ///
    /// The connection was reset, and why.
    pub async fn leave(mut self, pending: Pending, grace: &Grace) -> Result<(), Aborted> {
        let news = Arc::clone(&self.watched.news);
        let attended = attend(Arc::clone(&self.registry), self.keys, news);
        tokio::select! {
            finished = self.finish(pending, grace) => finished?,
            over = attended => over?,
        }
        // In this order, so that no acknowledgment is left to a socket that is gone.
        self.registry.with_tables(|tables| tables.left(&self.keys));
        for socket in self.sockets.take().into_iter().flatten() {
            // The kernel half lets no goodbye of this host pass on a live flow in any case.
            if let Err(error) = vanish(socket) {
                tracing::debug!(%error, "a socket was not silent when it left");
            }
        }
        Ok(())
    }

    async fn finish(&mut self, pending: Pending, grace: &Grace) -> Result<(), Aborted> {
        let Some([client, broker]) = &self.sockets else {
            return Ok(());
        };
        let [client_until, broker_until] = &mut self.until;
        let direction = |from, to, key, until| Direction {
            registry: &self.registry,
            from,
            to,
            key,
            until,
        };
        let up = direction(client, broker, self.keys[1], broker_until);
        let down = direction(broker, client, self.keys[0], client_until);
        let passed = CancellationToken::new();
        let period = async {
            grace.period().await?;
            passed.cancel();
            Ok(())
        };
        let sockets = [client, broker];
        let moved = async {
            tokio::try_join!(
                down.run(pending.to_client, &passed),
                up.run(pending.to_broker, &passed),
                period
            )
        };
        tokio::select! {
            moved = moved => drop(moved?),
            never = hush(sockets) => match never {},
        }
        tokio::select! {
            watched = self.watch(sockets) => watched,
            never = hush(sockets) => match never {},
        }
    }

    /// Waits until both peers have all that the sockets sent, or need no more.
    async fn watch(&self, sockets: [&TcpStream; 2]) -> Result<(), Aborted> {
        let news = &self.watched.news;
        for leg in news.missing(self.until) {
            // Acknowledged by a segment that came before there was a flow to note it.
            if !has_unacknowledged(sockets[leg])? {
                news.acknowledged(leg, self.until[leg]);
            }
        }
        let [client, broker] = sockets;
        tokio::select! {
            () = news.enough(self.until) => Ok(()),
            error = failure(client) => Err(error.into()),
            error = failure(broker) => Err(error.into()),
        }
    }
}

/// Keeps sockets that leave slowly from asking whether their peers are there: the kernel carries the
/// answer to the other end if that has sent more than the socket, and the socket would give up.
async fn hush(sockets: [&TcpStream; 2]) -> Infallible {
    time::sleep(HUSH_AFTER).await;
    for socket in sockets {
        if let Err(error) = SockRef::from(socket).set_keepalive(false) {
            tracing::debug!(%error, "a socket that leaves goes on asking for its peer");
        }
    }
    std::future::pending().await
}

/// Ends when a socket has given up.
async fn failure(socket: &TcpStream) -> io::Error {
    let ready = socket.ready(Interest::ERROR).await;
    let taken = ready.and_then(|_| socket.take_error());
    match taken {
        Ok(error) => error.unwrap_or_else(|| io::ErrorKind::ConnectionAborted.into()),
        Err(error) => error,
    }
}

/// From one socket to the other, for as long as something can arrive there.
#[derive(Debug)]
struct Direction<'a> {
    registry: &'a Registry,
    from: &'a TcpStream,
    to: &'a TcpStream,
    /// Of the flow by which acknowledgments of `to` arrive.
    key: FlowKey,
    until: &'a mut u32,
}

impl Direction<'_> {
    /// `pending` is part of the limit in `LEAVING` already.
    async fn run(mut self, pending: Bytes, passed: &CancellationToken) -> Result<(), Aborted> {
        self.write(&pending).await?;
        loop {
            let is_last = passed.is_cancelled();
            while let Some(bytes) = copy::take(self.from)? {
                if bytes.is_empty() {
                    return self.end();
                }
                self.limit(bytes.len(), LastWord::Data)?;
                self.write(&bytes).await?;
            }
            if is_last {
                return Ok(());
            }
            tokio::select! {
                () = passed.cancelled() => {}
                readable = self.from.readable() => readable?,
            }
        }
    }

    async fn write(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.to.try_write(bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.to.writable().await?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Passes on that the other side has closed; it did so just before the flow was there.
    fn end(&mut self) -> Result<(), Aborted> {
        self.limit(1, LastWord::Fin)?;
        Ok(SockRef::from(self.to).shutdown(std::net::Shutdown::Write)?)
    }

    /// Tells the kernel half whose the acknowledgment of so much more will be.
    fn limit(&mut self, more: usize, last: LastWord) -> io::Result<()> {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "sequence space is modulo 2^32"
        )]
        let until = self.until.wrapping_add(more as u32);
        *self.until = until;
        let key = self.key;
        self.registry
            .with_tables(|tables| tables.set_leaving(&key, until, last))
            .transpose()
            .map_err(io::Error::other)?;
        Ok(())
    }
}

/// Looks every now and then for what nobody told of, as the ring of events may be full. Ends when
/// nothing more is to come.
async fn attend(
    registry: Arc<Registry>,
    keys: [FlowKey; 2],
    news: Arc<News>,
) -> Result<(), Aborted> {
    let mut pause = FIRST_LOOK;
    loop {
        time::sleep(pause).await;
        pause = (pause * 2).min(LAST_LOOK);
        let Some(flows) = registry.with_tables(|tables| keys.map(|key| tables.flow(&key))) else {
            continue;
        };
        let [Some(up), Some(down)] = flows else {
            return Ok(());
        };
        if (up.state | down.state) & STATE_CLOSED != 0 {
            // After a reset nobody acknowledges anything any more.
            return Ok(());
        }
        if is_lost(&up, now()) {
            return Err(Aborted::Lost);
        }
        let highest = |flow: Flow| flow.highest_acknowledgment;
        news.acknowledged(0, highest(up));
        news.acknowledged(1, highest(down));
    }
}

/// Takes back what has not left, and resets it: whichever half of it arrived is not a connection.
impl Drop for Leaving {
    fn drop(&mut self) {
        let Some(sockets) = self.sockets.take() else {
            return;
        };
        self.registry
            .with_tables(|tables| tables.unsplice(&self.keys, self.session));
        for socket in sockets {
            if let Err(error) = SockRef::from(&socket).set_linger(Some(Duration::ZERO)) {
                tracing::debug!(%error, "closed without a reset");
            }
        }
    }
}

#[cfg(test)]
mod tests;
