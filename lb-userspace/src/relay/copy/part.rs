//! The last words of a connection that is over, and its sockets.

use std::io;
use std::pin::pin;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::time;

use super::{End, HALF_CLOSED_IDLE, Over, SCRATCH, Tally};
use crate::evict::Because;
use crate::registry::carried::Told;
use crate::sys;

/// How long a client may keep sending what nobody will read, and take nothing of what it is sent.
const LINGER: Duration = Duration::from_secs(5);

pub(super) async fn part(client: &TcpStream, broker: &TcpStream, over: Over, tally: &Tally) {
    match over {
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

/// Closes as the kernel half does with a connection whose client is lost.
fn reset(sockets: [&TcpStream; 2]) {
    for socket in sockets {
        if let Err(error) = SockRef::from(socket).set_linger(Some(Duration::ZERO)) {
            tracing::debug!(%error, "closed without a reset");
        }
    }
}

/// Ends a connection that could go on.
///
/// A broker that lives gets what it has taken from its client so far, and then the end of it. One that
/// is dead acknowledges nothing, and is not to keep a socket busy.
pub(in crate::relay) async fn dismiss(client: &TcpStream, broker: &TcpStream, because: Because) {
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

/// Reads and forgets what the client still sends.
///
/// Closing a socket with unread bytes makes the kernel send a reset, and a reset may overtake, at
/// the client, the last words of the broker.
pub(in crate::relay) async fn linger(client: &TcpStream) {
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
