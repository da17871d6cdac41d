//! Sockets that clients connect to: one for each address and thread.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use nix::errno::Errno;
use socket2::{Domain, Protocol, SockAddr, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::time;

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

/// Accepts until dropped, handing every client to `serve`.
pub async fn accept_forever(listener: TcpListener, serve: impl Fn(TcpStream, SocketAddr)) {
    loop {
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
