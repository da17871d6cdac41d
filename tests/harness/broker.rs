//! A stand-in for a broker, for what real ones do not do on demand.

use std::fmt;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use nix::sys::socket::{
    AddressFamily, Backlog, Shutdown, SockFlag, SockType, SockaddrIn, bind, getsockname, listen,
    shutdown, socket,
};

use crate::wait::PATIENCE;
use crate::wire;

/// A listening broker whose connections are served as the test says; ends when dropped.
pub struct Broker {
    address: SocketAddr,
    listener: TcpListener,
    shared: Arc<Shared>,
}

struct Shared {
    accepted: AtomicUsize,
    has_ended: AtomicBool,
}

impl Broker {
    /// Runs `serve` for every connection, each in a thread of its own.
    pub fn start(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        Self::start_at((Ipv4Addr::LOCALHOST, 0).into(), serve)
    }

    /// The same at an address.
    pub fn start_at(
        address: SocketAddr,
        serve: impl Fn(TcpStream) + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).expect("a broker may listen");
        Self::start_on(listener, serve)
    }

    /// The same on a socket that listens already.
    pub fn start_on(
        listener: TcpListener,
        serve: impl Fn(TcpStream) + Send + Sync + 'static,
    ) -> Self {
        let address = listener.local_addr().expect("it listens");
        let shared = Arc::new(Shared {
            accepted: AtomicUsize::new(0),
            has_ended: AtomicBool::new(false),
        });
        let (state, serve) = (Arc::clone(&shared), Arc::new(serve));
        let accepting = listener.try_clone().expect("descriptors can be copied");
        thread::spawn(move || {
            for stream in accepting.incoming() {
                if state.has_ended.load(Ordering::Acquire) {
                    return;
                }
                state.accepted.fetch_add(1, Ordering::Relaxed);
                let stream = stream.expect("a broker may accept");
                stream
                    .set_read_timeout(Some(PATIENCE))
                    .expect("it is a socket");
                stream.set_nodelay(true).expect("it is a TCP socket");
                let serve = Arc::clone(&serve);
                thread::spawn(move || serve(stream));
            }
        });
        Self {
            address,
            listener,
            shared,
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections it has seen.
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::Relaxed)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.shared.has_ended.store(true, Ordering::Release);
        // Its thread waits for a connection: this wakes it up, on whatever host it is.
        shutdown(self.listener.as_raw_fd(), Shutdown::Both).expect("it listens");
    }
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broker")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// Reads a CONNECT and accepts it; gives back the CONNECT.
pub fn accept(stream: &mut TcpStream) -> Vec<u8> {
    accept_with(stream, &[])
}

/// The same with properties in the CONNACK of 5.0.
pub fn accept_with(stream: &mut TcpStream, properties: &[u8]) -> Vec<u8> {
    let connect = wire::read_packet(stream).expect("a CONNECT comes");
    let connack = wire::connack(wire::level(&connect), 0, properties);
    stream
        .write_all(&connack)
        .expect("the daemon takes a CONNACK");
    connect
}

/// Resets the connection.
pub fn reset(stream: TcpStream) {
    let linger = nix::libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    nix::sys::socket::setsockopt(&stream, nix::sys::socket::sockopt::Linger, &linger)
        .expect("it is a TCP socket");
    drop(stream);
}

/// An address where nothing answers a SYN.
#[derive(Debug)]
pub struct Blackhole {
    pub address: SocketAddr,
    _listener: std::os::fd::OwnedFd,
    _filling: Vec<TcpStream>,
}

impl Blackhole {
    /// Listens with the shortest queue there is, and fills it: Linux drops what comes then.
    pub fn new() -> Self {
        let listener = socket(
            AddressFamily::Inet,
            SockType::Stream,
            SockFlag::SOCK_CLOEXEC,
            None,
        );
        let listener = listener.expect("sockets can be made");
        let fd = listener.as_raw_fd();
        bind(fd, &SockaddrIn::new(127, 0, 0, 1, 0)).expect("there is a free port");
        listen(&listener, Backlog::new(0).expect("zero is a backlog")).expect("it is bound");
        let bound: SockaddrIn = getsockname(fd).expect("it is bound");
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, bound.port()));
        let mut filling = Vec::new();
        while let Ok(stream) =
            TcpStream::connect_timeout(&address, std::time::Duration::from_millis(200))
        {
            filling.push(stream);
        }
        Self {
            address,
            _listener: listener,
            _filling: filling,
        }
    }
}

impl Default for Blackhole {
    fn default() -> Self {
        Self::new()
    }
}

/// An address that refuses connections.
pub fn refusing() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, crate::ports::free()).into()
}
