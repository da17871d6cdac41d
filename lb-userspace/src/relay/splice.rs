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
//!    acknowledged is left behind in it.
//! 4. **Watch.** The sockets send their last bytes again until these are acknowledged. The kernel half
//!    leaves them the acknowledgments they need, and remembers the highest.
//! 5. **Leave.** Both sockets are closed without a word.
//!
//! A connection that stalls on the way is reset on both legs; it is never owned by two.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lb_common::flow::{Flow, FlowKey, STATE_CLOSED, is_after};
use socket2::SockRef;
use thiserror::Error;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time;

use super::copy::{self, Pending};
use crate::kernel::grace::Grace;
use crate::kernel::leg::vanish;
use crate::kernel::tables::flows::LastWord;
use crate::registry::Registry;

/// How long neither end may acknowledge anything while something is left to acknowledge.
const PATIENCE: Duration = Duration::from_secs(60);
/// The first and the longest pause between two looks at what is acknowledged.
const FIRST_LOOK: Duration = Duration::from_millis(1);
const LAST_LOOK: Duration = Duration::from_millis(100);

/// Why a connection could not leave and was reset.
#[derive(Debug, Error)]
pub enum Aborted {
    #[error("a socket failed")]
    Socket(#[from] io::Error),
    #[error("neither end acknowledged anything for {PATIENCE:?}")]
    Stalled,
}

/// A connection that is in the kernel, with sockets still in the daemon.
#[derive(Debug)]
pub struct Leaving {
    registry: Arc<Registry>,
    keys: [FlowKey; 2],
    sides: Option<[Side; 2]>,
}

/// One leg.
#[derive(Debug)]
struct Side {
    socket: TcpStream,
    /// What the peer has to acknowledge.
    until: u32,
    /// A FIN has been written.
    has_ended: bool,
}

impl Leaving {
    /// Takes over the sockets, client first, of a connection that has just been installed.
    pub fn new(
        registry: Arc<Registry>,
        keys: [FlowKey; 2],
        [client, broker]: [TcpStream; 2],
        next_send: [u32; 2],
    ) -> Self {
        let side = |socket, until| Side {
            socket,
            until,
            has_ended: false,
        };
        Self {
            registry,
            keys,
            sides: Some([side(client, next_send[0]), side(broker, next_send[1])]),
        }
    }

    /// Writes what is left, waits until it has arrived, and leaves.
    ///
    /// # Errors
    ///
    /// The connection was reset, and why.
    pub async fn leave(mut self, pending: Pending, grace: &Grace) -> Result<(), Aborted> {
        let stalled = stalled(Arc::clone(&self.registry), self.keys);
        tokio::select! {
            finished = self.finish(pending, grace) => finished?,
            () = stalled => return Err(Aborted::Stalled),
        }
        if let Some(sides) = self.sides.take() {
            // In this order, so that no acknowledgment is left to a socket that is gone.
            self.registry.with_tables(|tables| tables.left(&self.keys));
            for side in sides {
                // The kernel half lets no goodbye of this host pass on a live flow in any case.
                if let Err(error) = vanish(side.socket) {
                    tracing::debug!(%error, "a socket was not silent when it left");
                }
            }
        }
        Ok(())
    }

    async fn finish(&mut self, pending: Pending, grace: &Grace) -> Result<(), Aborted> {
        self.write(0, pending.to_client).await?;
        self.write(1, pending.to_broker).await?;
        let mut period = std::pin::pin!(grace.period());
        loop {
            tokio::select! {
                passed = &mut period => break passed?,
                readable = self.readable() => readable?,
            }
            self.pass_on().await?;
        }
        self.pass_on().await?;
        self.watch().await
    }

    /// Waits for a socket that has something to pass on.
    async fn readable(&self) -> io::Result<()> {
        let [client, broker] = self.sockets()?;
        let ended = self
            .sides
            .as_ref()
            .map(|sides| [sides[0].has_ended, sides[1].has_ended]);
        let [client_ended, broker_ended] = ended.unwrap_or_default();
        tokio::select! {
            // What the client has closed has ended toward the broker, and the other way round.
            readable = client.readable(), if !broker_ended => readable,
            readable = broker.readable(), if !client_ended => readable,
            else => std::future::pending().await,
        }
    }

    fn sockets(&self) -> io::Result<[&TcpStream; 2]> {
        let sides = self.sides.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        Ok([&sides[0].socket, &sides[1].socket])
    }

    /// Writes to one leg, after telling the kernel half whose the acknowledgment will be.
    async fn write(&mut self, to: usize, bytes: Bytes) -> Result<(), Aborted> {
        if bytes.is_empty() {
            return Ok(());
        }
        let sides = self
            .sides
            .as_mut()
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected))?;
        let side = &mut sides[to];
        #[expect(
            clippy::cast_possible_truncation,
            reason = "sequence space is modulo 2^32"
        )]
        let until = side.until.wrapping_add(bytes.len() as u32);
        side.until = until;
        let key = self.keys[to];
        self.registry
            .with_tables(|tables| tables.set_leaving(&key, until, LastWord::Data))
            .transpose()
            .map_err(io::Error::other)?;
        Ok(side.socket.write_all(&bytes).await?)
    }

    /// Passes on everything that is in the sockets now.
    async fn pass_on(&mut self) -> Result<(), Aborted> {
        for from in [0, 1] {
            while let Some(bytes) = copy::take(self.sockets()?[from])? {
                if bytes.is_empty() {
                    self.end(1 - from).await?;
                    break;
                }
                self.write(1 - from, bytes).await?;
            }
        }
        Ok(())
    }

    /// Passes on that the other side has closed; it did so just before the flow was there.
    async fn end(&mut self, to: usize) -> Result<(), Aborted> {
        let sides = self
            .sides
            .as_mut()
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected))?;
        let side = &mut sides[to];
        if std::mem::replace(&mut side.has_ended, true) {
            return Ok(());
        }
        side.until = side.until.wrapping_add(1);
        let (key, until) = (self.keys[to], side.until);
        self.registry
            .with_tables(|tables| tables.set_leaving(&key, until, LastWord::Fin))
            .transpose()
            .map_err(io::Error::other)?;
        Ok(side.socket.shutdown().await?)
    }

    async fn watch(&self) -> Result<(), Aborted> {
        let mut pause = FIRST_LOOK;
        while !self.is_acknowledged() {
            time::sleep(pause).await;
            pause = (pause * 2).min(LAST_LOOK);
        }
        Ok(())
    }

    /// Whether both peers have all that our sockets sent; a flow that is gone needs no more.
    fn is_acknowledged(&self) -> bool {
        let Some(sides) = &self.sides else {
            return true;
        };
        let flows = self
            .registry
            .with_tables(|tables| self.keys.map(|key| tables.flow(&key)));
        flows.into_iter().flatten().zip(sides).all(|(flow, side)| {
            let is_done = |flow: Flow| {
                // After a reset nobody acknowledges anything any more.
                flow.state & STATE_CLOSED != 0 || !is_after(side.until, flow.highest_acknowledgment)
            };
            flow.is_none_or(is_done)
        })
    }
}

/// Ends when neither end has acknowledged anything new for a while.
async fn stalled(registry: Arc<Registry>, keys: [FlowKey; 2]) {
    let acknowledged = || {
        let highest = |flow: Option<Flow>| flow.map(|flow| flow.highest_acknowledgment);
        registry.with_tables(|tables| keys.map(|key| highest(tables.flow(&key))))
    };
    let mut before = acknowledged();
    loop {
        time::sleep(PATIENCE).await;
        let now = acknowledged();
        if std::mem::replace(&mut before, now) == now {
            return;
        }
    }
}

/// Takes back what has not left, and resets it: whichever half of it arrived is not a connection.
impl Drop for Leaving {
    fn drop(&mut self) {
        let Some(sides) = self.sides.take() else {
            return;
        };
        self.registry
            .with_tables(|tables| tables.unsplice(&self.keys));
        for side in sides {
            if let Err(error) = SockRef::from(&side.socket).set_linger(Some(Duration::ZERO)) {
                tracing::debug!(%error, "closed without a reset");
            }
        }
    }
}
