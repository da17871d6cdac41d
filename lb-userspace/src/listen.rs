//! Sockets that clients connect to: one for each address and thread.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::{task, time};

use crate::sys;

pub mod tls;

/// Connections the kernel completes before we accept them.
const BACKLOG: i32 = 4096;
/// Clients accepted before those that were accepted have their turn.
const AT_ONCE: usize = 16;
/// How long to leave a listener alone that cannot accept.
const PAUSE: Duration = Duration::from_millis(50);
/// Nobody waits in a queue from which nobody came for this long.
const A_MOMENT: Duration = Duration::from_millis(10);
/// A peer that vanished is found after this much silence, and nine probes.
const KEEPALIVE_TIME: Duration = Duration::from_secs(300);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);

/// Whether other sockets of the same user may share an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    Alone,
    BetweenThreads,
}

/// Binds an address and listens; an IPv6 address takes IPv6 clients only.
///
/// # Errors
///
/// Whatever the kernel says, `AddrInUse` above all.
pub fn bind(address: SocketAddr, sharing: Sharing) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM.nonblocking(),
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(sharing == Sharing::BetweenThreads)?;
    socket.bind(&SockAddr::from(address))?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// The largest segment that clients of a listener are told to send; it only shrinks.
#[derive(Debug)]
pub struct SegmentLimit(AtomicI32);

impl SegmentLimit {
    /// In bytes of payload; `None` is whatever the interface takes.
    pub fn new(bytes: Option<i32>) -> Self {
        Self(AtomicI32::new(bytes.unwrap_or(i32::MAX)))
    }

    /// What is known of brokers has changed.
    pub fn reset(&self, bytes: Option<i32>) {
        self.0.store(bytes.unwrap_or(i32::MAX), Ordering::Relaxed);
    }

    /// Tells later clients to send no more than `bytes`.
    pub fn shrink_to(&self, bytes: u32) {
        if let Ok(bytes) = i32::try_from(bytes) {
            self.0.fetch_min(bytes, Ordering::Relaxed);
        }
    }

    /// Tells those who connect to `listener` from now on.
    pub fn apply(&self, listener: &impl AsFd, applied: &mut i32) {
        let limit = self.0.load(Ordering::Relaxed);
        if limit == std::mem::replace(applied, limit) {
            return;
        }
        // Zero takes an earlier limit back.
        let option = if limit <= sys::LARGEST_SEGMENT {
            limit
        } else {
            0
        };
        if let Err(error) = sys::set_tcp_option(listener, libc::TCP_MAXSEG, option) {
            tracing::debug!(%error, limit, "clients may send larger segments than brokers take");
        }
    }
}

/// Lets nobody begin to connect any more; whoever has begun can still be accepted.
///
/// # Errors
///
/// The kernel cannot filter what arrives for a socket.
pub fn close_to_newcomers(listener: &impl AsFd) -> io::Result<()> {
    /// Where a TCP header has its flags, and two of them.
    const FLAGS: u32 = 13;
    const SYN_AND_ACK: u32 = 0x12;
    const SYN: u32 = 0x02;
    // What the filter sees begins with the TCP header; it gives back how much of it is let in.
    let instruction = |code: u32, jump: (u8, u8), operand| {
        let code = u16::try_from(code).unwrap_or_default();
        socket2::SockFilter::new(code, jump.0, jump.1, operand)
    };
    let program = [
        instruction(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, (0, 0), FLAGS),
        instruction(
            libc::BPF_ALU | libc::BPF_AND | libc::BPF_K,
            (0, 0),
            SYN_AND_ACK,
        ),
        instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, (0, 1), SYN),
        instruction(libc::BPF_RET | libc::BPF_K, (0, 0), 0),
        instruction(libc::BPF_RET | libc::BPF_K, (0, 0), u32::MAX),
    ];
    SockRef::from(listener).attach_filter(&program)
}

/// Takes `close_to_newcomers` back.
///
/// # Errors
///
/// None that the kernel is known to give.
pub fn open_to_newcomers(listener: &impl AsFd) -> io::Result<()> {
    match SockRef::from(listener).detach_filter() {
        // There was none.
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        detached => detached,
    }
}

/// Accepts until dropped, handing every client to `serve`; `limit` tells what counts now.
pub async fn accept_forever(
    listener: &TcpListener,
    limit: impl Fn() -> Option<Arc<SegmentLimit>>,
    mut serve: impl FnMut(TcpStream, SocketAddr),
) {
    if let Err(error) = prepare(listener) {
        tracing::warn!(%error, "clients that vanish are found late");
    }
    let mut applied = i32::MAX;
    let mut accepted = 0_usize;
    loop {
        if let Some(limit) = limit() {
            limit.apply(listener, &mut applied);
        }
        match listener.accept().await {
            Ok((client, address)) => {
                serve(client, address);
                accepted += 1;
                if accepted.is_multiple_of(AT_ONCE) {
                    // So that a crowd does not take its descriptors before anyone has been looked at.
                    task::yield_now().await;
                }
            }
            Err(error) if is_of_one_client(&error) => {
                tracing::debug!(%error, "client went before it was accepted");
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept; raise the limit of open files (LimitNOFILE)");
                time::sleep(PAUSE).await;
            }
        }
    }
}

/// Accepts those who have connected already.
pub async fn accept_waiting(listener: &TcpListener, mut serve: impl FnMut(TcpStream, SocketAddr)) {
    while let Ok(Ok((client, address))) = time::timeout(A_MOMENT, listener.accept()).await {
        serve(client, address);
    }
}

/// Errors of accept(2) that say nothing about the next client.
fn is_of_one_client(error: &io::Error) -> bool {
    let listener_is_short_of = [Errno::EMFILE, Errno::ENFILE, Errno::ENOBUFS, Errno::ENOMEM];
    !listener_is_short_of
        .iter()
        .any(|errno| error.raw_os_error() == Some(*errno as i32))
}

/// Linux gives these to every connection that is accepted.
fn prepare(listener: &TcpListener) -> io::Result<()> {
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_TIME)
        .with_interval(KEEPALIVE_INTERVAL);
    let socket = SockRef::from(listener);
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&keepalive)
}

#[cfg(test)]
mod tests {
    use socket2::SockRef;
    use tokio::net::{TcpListener, TcpStream};

    use super::{KEEPALIVE_INTERVAL, KEEPALIVE_TIME, prepare};

    #[tokio::test]
    async fn every_client_is_looked_after() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        prepare(&listener).unwrap();
        let address = listener.local_addr().unwrap();

        let (_client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());

        let (accepted, _) = accepted.unwrap();
        let socket = SockRef::from(&accepted);
        assert!(socket.tcp_nodelay().unwrap() && socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), KEEPALIVE_TIME);
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), KEEPALIVE_INTERVAL);
    }
}
