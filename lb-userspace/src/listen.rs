//! Sockets that clients connect to: one for each address and thread.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use socket2::{Domain, Protocol, SockAddr, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::time;

use crate::sys;

/// Connections the kernel completes before we accept them.
const BACKLOG: i32 = 4096;
/// How long to leave a listener alone that cannot accept.
const PAUSE: Duration = Duration::from_millis(50);
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

    /// Tells later clients to send no more than `bytes`.
    pub fn shrink_to(&self, bytes: u32) {
        if let Ok(bytes) = i32::try_from(bytes) {
            self.0.fetch_min(bytes, Ordering::Relaxed);
        }
    }

    fn apply(&self, listener: &impl AsFd, applied: &mut i32) {
        let limit = self.0.load(Ordering::Relaxed);
        if limit <= sys::LARGEST_SEGMENT
            && limit != std::mem::replace(applied, limit)
            && let Err(error) = sys::set_tcp_option(listener, libc::TCP_MAXSEG, limit)
        {
            tracing::debug!(%error, limit, "clients may send larger segments than brokers take");
        }
    }
}

/// Accepts until dropped, handing every client to `serve`.
pub async fn accept_forever(
    listener: TcpListener,
    limit: &SegmentLimit,
    serve: impl Fn(TcpStream, SocketAddr),
) {
    let mut applied = i32::MAX;
    loop {
        limit.apply(&listener, &mut applied);
        match listener.accept().await {
            Ok((client, address)) => {
                if let Err(error) = prepare(&client) {
                    tracing::debug!(%address, %error, "client went before it was served");
                    continue;
                }
                serve(client, address);
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

/// Errors of accept(2) that say nothing about the next client.
fn is_of_one_client(error: &io::Error) -> bool {
    let listener_is_short_of = [Errno::EMFILE, Errno::ENFILE, Errno::ENOBUFS, Errno::ENOMEM];
    !listener_is_short_of
        .iter()
        .any(|errno| error.raw_os_error() == Some(*errno as i32))
}

fn prepare(client: &TcpStream) -> io::Result<()> {
    client.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_TIME)
        .with_interval(KEEPALIVE_INTERVAL);
    socket2::SockRef::from(client).set_tcp_keepalive(&keepalive)
}
