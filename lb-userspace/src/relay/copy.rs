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
use std::io;
use std::pin::{Pin, pin};
use std::sync::Mutex;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time;

mod half;
mod part;

use half::{Receive, TlsHalf};
use part::part;
pub(super) use part::{dismiss, linger};

use crate::counters::Counter;
use crate::kernel::leg;
use crate::registry::carried::{Carried, Told};
use crate::stream::Stream;

/// Bytes read at once; the size of the buffer each thread has.
const SCRATCH_BYTES: usize = 64 * 1024;
/// A half-closed connection ends when the open half was silent for this long.
pub(super) const HALF_CLOSED_IDLE: Duration = Duration::from_secs(60);

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
    client: &mut Stream,
    broker: &mut TcpStream,
    pending: Pending,
    idle: Option<Duration>,
    tally: &Tally,
    carried: Option<&Carried>,
) {
    let over = match client {
        Stream::Plain(socket) => {
            let (read, write) = socket.split();
            let silent = pin!(silent(|| leg::silence(read.as_ref()), idle));
            between((&read, write), silent, broker, pending, tally, carried).await
        }
        Stream::Tls(_) => {
            let whole = Mutex::new(&mut *client);
            let half = TlsHalf(&whole);
            let silent = pin!(silent(|| half.silence(), idle));
            between((&half, half), silent, broker, pending, tally, carried).await
        }
    };
    client.say_goodbye();
    part(client.socket(), broker, over, tally).await;
}

/// Why both directions are over: they have ended, the one from the client like this; or they were told to.
type Over = Result<Told, Option<End>>;

async fn between(
    (client_read, client_write): (&impl Receive, impl AsyncWrite + Unpin),
    silent: Pin<&mut impl Future<Output = ()>>,
    broker: &mut TcpStream,
    pending: Pending,
    tally: &Tally,
    carried: Option<&Carried>,
) -> Over {
    let (broker_read, broker_write) = broker.split();
    // Pinned where they are made: a future that is passed on by value keeps room for itself twice.
    let mut carry_up = pin!(carry(
        client_read,
        broker_write,
        pending.to_broker,
        &tally.from_client,
        carried,
    ));
    let up = pin!(async {
        tokio::select! {
            end = &mut carry_up => end,
            () = silent => End::Silence,
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
}

/// Ends when nothing has come from a client for as long as `idle` allows; `silence` tells since when.
pub(super) async fn silent(silence: impl Fn() -> io::Result<Duration>, idle: Option<Duration>) {
    let Some(idle) = idle else {
        return std::future::pending().await;
    };
    let mut left = idle;
    while !left.is_zero() {
        time::sleep(left).await;
        // Where the kernel does not say, it is too late to ask: the relay is about to end.
        left = silence().map_or(idle, |silence| idle.saturating_sub(silence));
    }
}

async fn told(carried: Option<&Carried>) -> Told {
    match carried {
        Some(carried) => carried.told().await,
        None => std::future::pending().await,
    }
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
    from: &impl Receive,
    mut to: impl AsyncWrite + Unpin,
    pending: Bytes,
    moved: &Counter,
    carried: Option<&Carried>,
) -> End {
    if to.write_all(&pending).await.is_err() || to.flush().await.is_err() {
        return End::Receiver;
    }
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
    from: &impl Receive,
    to: &mut (impl AsyncWrite + Unpin),
    moved: &Counter,
    carried: Option<&Carried>,
) -> End {
    loop {
        let shifted =
            poll_fn(|context| SCRATCH.with_borrow_mut(|scratch| shift(from, to, scratch, context)));
        let shifted = shifted.await;
        if let Some(carried) = carried {
            carried.is_seen();
        }
        match shifted {
            Ok(Shifted::All(count)) => moved.add(count as u64),
            Ok(Shifted::Rest(count, rest)) => {
                if to.write_all(&rest).await.is_err() || to.flush().await.is_err() {
                    return End::Receiver;
                }
                moved.add(count as u64);
            }
            Err(end) => return end,
        }
    }
}

enum Shifted {
    All(usize),
    /// So much was read, and this of it is still to be written.
    Rest(usize, Vec<u8>),
}

/// Reads once, when there is something, and writes once.
fn shift(
    from: &impl Receive,
    to: &mut (impl AsyncWrite + Unpin),
    scratch: &mut [u8],
    context: &mut Context<'_>,
) -> Poll<Result<Shifted, End>> {
    let count = match ready!(from.poll_receive(context, scratch)) {
        Ok(0) | Err(_) => return Poll::Ready(Err(End::Sender)),
        Ok(count) => count,
    };
    let written = match Pin::new(&mut *to).poll_write(context, &scratch[..count]) {
        Poll::Ready(Ok(written)) => written,
        Poll::Pending => 0,
        Poll::Ready(Err(_)) => return Poll::Ready(Err(End::Receiver)),
    };
    let flushed = Pin::new(to).poll_flush(context);
    Poll::Ready(match flushed {
        Poll::Ready(Err(_)) => Err(End::Receiver),
        Poll::Ready(Ok(())) if written == count => Ok(Shifted::All(count)),
        Poll::Ready(Ok(())) | Poll::Pending => {
            Ok(Shifted::Rest(count, scratch[written..count].to_vec()))
        }
    })
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
