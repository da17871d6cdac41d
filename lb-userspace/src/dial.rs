//! A TCP connection to a backend, within a time, and shaped for the splice where that is possible.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use lb_common::flow::OFFER_NO_SACK;
use nix::libc;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::IpBindAddressNoPort;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time;

use crate::kernel::flows::arriving;
use crate::kernel::leg::Agreed;
use crate::kernel::ports::{Port, Ports};
use crate::kernel::route;
use crate::registry::Registry;
use crate::sys;

/// Ports tried before the kernel is left to choose one.
const PORTS_TRIED: usize = 8;

/// What a connection must look like for a splice.
#[derive(Debug)]
pub struct Shape<'a> {
    pub ports: &'a Arc<Ports>,
    /// Where the kernel half is told of the coming connection.
    pub registry: &'a Registry,
    /// What the client's leg agreed on.
    pub client: Agreed,
}

/// Where to connect to, and from which addresses of this host: the first that has a port.
#[derive(Debug)]
pub struct Target {
    pub address: SocketAddr,
    /// Those of another family are passed over; none is what the route says.
    pub sources: Vec<IpAddr>,
}

impl From<SocketAddr> for Target {
    fn from(address: SocketAddr) -> Self {
        let sources = Vec::new();
        Self { address, sources }
    }
}

/// A connection, and its source port where that is ours to keep.
#[derive(Debug)]
pub struct Dialled {
    pub stream: TcpStream,
    pub port: Option<Port>,
}

/// Connects to a backend; small packets leave at once.
///
/// # Errors
///
/// Whatever the kernel says of the connection, or `TimedOut`.
pub async fn dial(
    mut target: Target,
    within: Duration,
    shape: Option<Shape<'_>>,
) -> io::Result<Dialled> {
    let is_ipv4 = target.address.is_ipv4();
    target.sources.retain(|source| source.is_ipv4() == is_ipv4);
    let connect = async {
        match shape {
            Some(shape) => connect_shaped(&target, &shape).await,
            None => connect(&target).await,
        }
    };
    let dialled = time::timeout(within, connect)
        .await
        .map_err(|elapsed| io::Error::new(io::ErrorKind::TimedOut, elapsed))??;
    dialled.stream.set_nodelay(true)?;
    Ok(dialled)
}

/// Whether a connection was not made for want of something of this host, which says nothing about
/// the backend.
pub fn is_local(error: &io::Error) -> bool {
    let want = [
        libc::EACCES,
        libc::EADDRINUSE,
        libc::EADDRNOTAVAIL,
        libc::EAGAIN,
        libc::EMFILE,
        libc::ENFILE,
        libc::ENOBUFS,
        libc::ENOMEM,
        libc::EPERM,
    ];
    error
        .raw_os_error()
        .is_some_and(|errno| want.contains(&errno))
}

async fn connect(target: &Target) -> io::Result<Dialled> {
    let Target { address, sources } = target;
    let plain = |stream| Dialled { stream, port: None };
    if sources.is_empty() {
        return TcpStream::connect(address).await.map(plain);
    }
    let mut result = Err(io::ErrorKind::AddrNotAvailable.into());
    for source in sources {
        let socket = new_socket(*address)?;
        // The port is to be chosen when the other end is known: it may lead to others already.
        setsockopt(&socket, IpBindAddressNoPort, &true)?;
        socket.bind((*source, 0).into())?;
        result = socket.connect(*address).await.map(plain);
        // Every port of this address leads there already.
        let is_full = |error: &io::Error| error.kind() == io::ErrorKind::AddrNotAvailable;
        if !result.as_ref().is_err_and(is_full) {
            break;
        }
    }
    result
}

/// From a port of ours, where the kernel half can reach the backend and a port is free.
async fn connect_shaped(target: &Target, shape: &Shape<'_>) -> io::Result<Dialled> {
    let address = target.address;
    let route = route::to(address.ip(), None)?;
    let Some(usual) = route.source.filter(|_| route.is_open) else {
        return connect(target).await;
    };
    let sources = match target.sources.as_slice() {
        [] => &[usual],
        configured => configured,
    };
    for _ in 0..PORTS_TRIED {
        let mut free = sources.iter().filter_map(|source| {
            let port = shape.ports.take(*source, address)?;
            Some((*source, port))
        });
        let Some((source, port)) = free.next() else {
            break;
        };
        let socket = new_socket(address)?;
        shape_socket(&socket, &shape.client)?;
        match socket.bind((source, port.number).into()) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => continue,
            Err(error) => return Err(error),
        }
        announce(shape, address, (source, port.number).into());
        match socket.connect(address).await {
            Ok(stream) => {
                return Ok(Dialled {
                    stream,
                    port: Some(port),
                });
            }
            // Somebody else has a connection between just these addresses.
            Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => {}
            Err(error) => return Err(error),
        }
    }
    connect(target).await
}

/// Has the kernel half take out of the SYN what the client's leg does without: a broker that finds
/// losses by selective acknowledgments waits in vain for those of a client that knows none.
fn announce(shape: &Shape<'_>, broker: SocketAddr, source: SocketAddr) {
    let offer = if shape.client.sack { 0 } else { OFFER_NO_SACK };
    let announced = shape
        .registry
        .with_tables(|tables| tables.announce(&arriving(broker, source), offer));
    if let Some(Err(error)) = announced {
        tracing::debug!(%error, "the legs may not agree on SACK");
    }
}

fn new_socket(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    // The same port may lead to several backends.
    socket.set_reuseaddr(true)?;
    Ok(socket)
}

/// Promises the broker no more than the client can take, in segments and in window units.
fn shape_socket(socket: &TcpSocket, client: &Agreed) -> io::Result<()> {
    let segment = i32::try_from(client.send_mss).unwrap_or(i32::MAX);
    sys::set_tcp_option(socket, libc::TCP_MAXSEG, segment.min(sys::LARGEST_SEGMENT))?;
    // The kernel announces the shift that this window needs (RFC 7323 section 2.3).
    let window = 0xffff_i32 << client.peer_scale.min(14);
    sys::set_tcp_option(socket, libc::TCP_WINDOW_CLAMP, window)
}
