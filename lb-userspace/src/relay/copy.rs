//! The copy path: the daemon reads from one socket and writes to the other.
//!
//! A connection that says nothing holds no buffer: bytes are read into a buffer that all
//! connections of a thread share, and only what the other side did not take at once is kept. That
//! is also the back-pressure: nothing more is read before it is gone.
//!
//! Each direction ends on its own. What one side sent before it closed or reset is delivered before
//! the other side learns of it: an MQTT 5.0 broker says why it disconnects and then closes, often
//! with a reset, since the client was still sending.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io::{self, Read as _};
use std::os::fd::AsFd;
use std::pin::{Pin, pin};
use std::time::Duration;

use bytes::Bytes;
use socket2::SockRef;
use tokio::io::{AsyncWriteExt as _, Interest};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::time;

use crate::counters::Counter;
use crate::evict::Because;
use crate::kernel::leg;
use crate::registry::carried::{Carried, Told};
use crate::sys;

/// Bytes read at once; the size of the buffer each thread has.
const SCRATCH_BYTES: usize = 64 * 1024;
/// A half-closed connection ends when the open half was silent for this long.
pub(super) const HALF_CLOSED_IDLE: Duration = Duration::from_secs(60);
/// How long a client may keep sending what nobody will read, and take nothing of what it is sent.
const LINGER: Duration = Duration::from_secs(5);

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH_BYTES].into());
}

/// Bytes moved in each direction.
#[derive(Debug, Default)]
pub struct Tally {
    pub from_client: Counter,
    pub from_broker: Counter,
    /// Connections whose client was silent for too long.
    pub idle: Counter,
}

/// Bytes that were read before the relay began and are still to be written.
#[derive(Debug)]
pub struct Pending {
    pub to_broker: Bytes,
    pub to_client: Bytes,
}

/// Why a direction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The sender closed or reset; everything it sent has been passed on.
    Sender,
    /// The receiver takes no more.
    Receiver,
    /// The client has not been heard of for too long.
    Silence,
}

/// Relays until both directions have ended, the session is told to end, or nothing has come from the
/// client for as long as `idle` allows; counts into `tally` as it goes.
pub async fn relay(
    client: &mut TcpStream,
    broker: &mut TcpStream,
    pending: Pending,
    idle: Option<Duration>,
    tally: &Tally,
    carried: Option<&Carried>,
) {
    let told = {
        let (client_read, client_write) = client.split();
        let (broker_read, broker_write) = broker.split();
        // Pinned where they are made: a future that is passed on by value keeps room for itself twice.
        let mut carry_up = pin!(carry(
            &client_read,
            broker_write,
            pending.to_broker,
            &tally.from_client,
            carried,
        ));
        let up = pin!(async {
            tokio::select! {
                end = &mut carry_up => end,
                () = silent(client_read.as_ref(), idle) => End::Silence,
            }
        });
        let down = pin!(carry(
            &broker_read,
            client_write,
            pending.to_client,
            &tally.from_broker,
            carried,
        ));
        tokio::select! {
            ended = both(up, down, tally) => Err(ended),
            told = told(carried) => Ok(told),
        }
    };
    match told {
        Ok(Told::Evicted(because)) => dismiss(client, broker, because).await,
        Err(Some(End::Receiver)) => linger(client).await,
        Err(Some(End::Silence)) => {
            tally.idle.add(1);
            tracing::debug!("client is silent, and taken for lost");
            reset([client, broker]);
        }
        Ok(Told::Stopped) | Err(Some(End::Sender) | None) => {}
    }
}

/// Ends when nothing has come from a client for as long as `idle` allows.
pub(super) async fn silent(client: &impl AsFd, idle: Option<Duration>) {
    let Some(idle) = idle else {
        return std::future::pending().await;
    };
    let mut left = idle;
    while !left.is_zero() {
        time::sleep(left).await;
        // Where the kernel does not say, it is too late to ask: the relay is about to end.
        left = leg::silence(client).map_or(idle, |silence| idle.saturating_sub(silence));
    }
}

/// Closes as the kernel half does with a connection whose client is lost.
fn reset(sockets: [&TcpStream; 2]) {
    for socket in sockets {
        if let Err(error) = SockRef::from(socket).set_linger(Some(Duration::ZERO)) {
            tracing::debug!(%error, "closed without a reset");
        }
    }
}

async fn told(carried: Option<&Carried>) -> Told {
    match carried {
        Some(carried) => carried.told().await,
        None => std::future::pending().await,
    }
}

/// Ends a connection that could go on.
///
/// A broker that lives gets what it has taken from its client so far, and then the end of it. One that
/// is dead acknowledges nothing, and is not to keep a socket busy.
pub(super) async fn dismiss(client: &TcpStream, broker: &TcpStream, because: Because) {
    let broker = SockRef::from(broker);
    let ended = match because {
        Because::Dead => broker.set_linger(Some(Duration::ZERO)),
        Because::Drained | Because::Rebalanced => broker.shutdown(std::net::Shutdown::Write),
    };
    if let Err(error) = ended {
        tracing::trace!(%error, "broker was gone before it could be told");
    }
    linger(client).await;
}

/// Runs both directions to their ends; tells how the one from the client ended.
async fn both(
    mut up: Pin<&mut impl Future<Output = End>>,
    mut down: Pin<&mut impl Future<Output = End>>,
    tally: &Tally,
) -> Option<End> {
    let up_ended = tokio::select! {
        ended = &mut up => Some(ended),
        _ = &mut down => None,
    };
    match up_ended {
        None => finish(up, &tally.from_client).await,
        Some(End::Silence) => up_ended,
        Some(End::Receiver | End::Sender) => {
            finish(down, &tally.from_broker).await;
            up_ended
        }
    }
}

/// Carries one direction to its end, then closes it for the receiver.
async fn carry(
    from: &ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    pending: Bytes,
    moved: &Counter,
    carried: Option<&Carried>,
) -> End {
    let Ok(()) = to.write_all(&pending).await else {
        return End::Receiver;
    };
    moved.add(pending.len() as u64);
    drop(pending);

    let end = pump(from, &mut to, moved, carried).await;
    if end == End::Sender
        && let Err(error) = to.shutdown().await
    {
        tracing::trace!(%error, "receiver was gone before it could be told");
    }
    end
}

async fn pump(
    from: &ReadHalf<'_>,
    to: &mut WriteHalf<'_>,
    moved: &Counter,
    carried: Option<&Carried>,
) -> End {
    loop {
        // Takes turns with others, as a pair of fast peers must not keep the thread from them.
        let readable = poll_fn(|context| from.as_ref().poll_read_ready(context));
        if readable.await.is_err() {
            return End::Sender;
        }
        if let Some(carried) = carried {
            carried.is_seen();
        }
        match SCRATCH.with_borrow_mut(|scratch| shift(from, to, scratch)) {
            Ok(Shifted::Nothing) => {}
            Ok(Shifted::All(count)) => moved.add(count as u64),
            Ok(Shifted::Rest(count, rest)) => {
                if to.write_all(&rest).await.is_err() {
                    return End::Receiver;
                }
                moved.add(count as u64);
            }
            Err(end) => return end,
        }
    }
}

enum Shifted {
    Nothing,
    All(usize),
    /// So much was read, and this of it is still to be written.
    Rest(usize, Vec<u8>),
}

/// Reads once and writes once, without waiting.
fn shift(from: &ReadHalf<'_>, to: &WriteHalf<'_>, scratch: &mut [u8]) -> Result<Shifted, End> {
    let count = match read(from.as_ref(), scratch) {
        Ok(0) => return Err(End::Sender),
        Ok(count) => count,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Shifted::Nothing),
        Err(_) => return Err(End::Sender),
    };
    let written = match to.try_write(&scratch[..count]) {
        Ok(written) => written,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
        Err(_) => return Err(End::Receiver),
    };
    if written == count {
        return Ok(Shifted::All(count));
    }
    Ok(Shifted::Rest(count, scratch[written..count].to_vec()))
}

/// Reads once. A socket that did not fill the buffer has nothing more, and is not asked again before it
/// says that it has.
fn read(from: &TcpStream, scratch: &mut [u8]) -> io::Result<usize> {
    let mut last = None;
    let read = from.try_io(Interest::READABLE, || {
        let count = (&*SockRef::from(from)).read(scratch)?;
        if count == 0 || count == scratch.len() {
            return Ok(count);
        }
        last = Some(count);
        // Has the runtime wait for the next edge (epoll(7)); one since then is not lost.
        Err(io::ErrorKind::WouldBlock.into())
    });
    last.map_or(read, Ok)
}

/// What a socket has received, without waiting: `None` is nothing yet, no bytes are the end.
///
/// # Errors
///
/// What the kernel says of the connection.
pub(super) fn take(from: &TcpStream) -> io::Result<Option<Bytes>> {
    SCRATCH.with_borrow_mut(|scratch| match from.try_read(scratch) {
        Ok(count) => Ok(Some(Bytes::copy_from_slice(&scratch[..count]))),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    })
}

/// Lets the direction that is left come to its end, unless it falls silent.
async fn finish(mut rest: Pin<&mut impl Future<Output = End>>, moved: &Counter) -> Option<End> {
    loop {
        let before = moved.value();
        match time::timeout(HALF_CLOSED_IDLE, &mut rest).await {
            Ok(end) => return Some(end),
            Err(_) if moved.value() == before => return None,
            Err(_) => {}
        }
    }
}

/// Reads and forgets what the client still sends.
///
/// Closing a socket with unread bytes makes the kernel send a reset, and a reset may overtake, at
/// the client, the last words of the broker.
pub(super) async fn linger(client: &TcpStream) {
    if let Err(error) = SockRef::from(client).shutdown(std::net::Shutdown::Write) {
        tracing::trace!(%error, "client was gone before it could be told");
    }
    let forget = async {
        while client.readable().await.is_ok() {
            match SCRATCH.with_borrow_mut(|scratch| client.try_read(scratch)) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    };
    let mut forget = pin!(forget);
    let patience = time::Instant::now() + HALF_CLOSED_IDLE;
    // A client with a narrow window takes its time, and may, while it goes on taking.
    let mut left = u32::MAX;
    while time::timeout(LINGER, &mut forget).await.is_err() {
        let before = std::mem::replace(&mut left, sys::unacknowledged(client).unwrap_or(0));
        if left == 0 || left >= before || time::Instant::now() >= patience {
            tracing::debug!("client keeps sending after its broker has gone");
            return;
        }
    }
}
