//! A client that sends exactly the bytes a test wants.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd as _;

use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, connect, setsockopt, socket, sockopt,
};

use crate::wait::PATIENCE;
use crate::wire::{self, Connect};

/// Bytes of the receive buffer of a client with a narrow window. With the least that the kernel has,
/// segments find no room for what comes with them, and are sent again ever more seldom.
const NARROW: usize = 4096;

/// A TCP connection; closed when dropped.
#[derive(Debug)]
pub struct Client(pub TcpStream);

impl Client {
    /// Connects by TCP; everything written leaves at once.
    pub fn dial(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address);
        Self::over(stream.unwrap_or_else(|error| panic!("{address}: {error}")))
    }

    /// The same by IPv4, with a narrow window: what it does not read stays with the sender.
    pub fn dial_narrow(address: SocketAddr) -> Self {
        let SocketAddr::V4(address) = address else {
            panic!("{address} is not an IPv4 address");
        };
        let stream = TcpStream::from(
            socket(
                AddressFamily::Inet,
                SockType::Stream,
                SockFlag::SOCK_CLOEXEC,
                None,
            )
            .expect("sockets can be made"),
        );
        setsockopt(&stream, sockopt::RcvBuf, &NARROW).expect("it is a socket");
        connect(stream.as_raw_fd(), &SockaddrIn::from(address)).expect("the daemon listens");
        Self::over(stream)
    }

    /// A client over a connection that is there.
    pub fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("it is a TCP socket");
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("it is a socket");
        stream
            .set_write_timeout(Some(PATIENCE))
            .expect("it is a socket");
        Self(stream)
    }

    /// Connects, and expects to be accepted.
    pub fn open(address: SocketAddr, connect: &Connect) -> Self {
        let mut client = Self::dial(address);
        client.introduce(connect);
        client
    }

    /// Sends a CONNECT, and expects to be accepted.
    pub fn introduce(&mut self, connect: &Connect) {
        self.send(&connect.bytes());
        let connack = self.packet();
        assert_eq!(
            (connack[0], connack[3]),
            (wire::CONNACK, 0),
            "{connect:?}: {connack:?}"
        );
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.0
            .write_all(bytes)
            .expect("the daemon takes what is sent");
    }

    /// The next packet.
    pub fn packet(&mut self) -> Vec<u8> {
        wire::read_packet(&mut self.0).expect("a packet comes")
    }

    /// So many bytes.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.0.read_exact(&mut bytes).expect("these bytes come");
        bytes
    }

    /// All that comes until the daemon closes or resets.
    pub fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        match self.0.read_to_end(&mut rest) {
            Err(error) if error.kind() != io::ErrorKind::ConnectionReset => {
                panic!("no end came: {error}, after {} bytes", rest.len())
            }
            Ok(_) | Err(_) => rest,
        }
    }
}
