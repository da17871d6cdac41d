//! TCP sockets with an agreement of their own: buffers and segments other than the usual.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd as _, OwnedFd};

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, connect, listen, setsockopt,
    socket, sockopt,
};

/// What one end of a connection insists on.
#[derive(Debug, Clone, Copy, Default)]
pub struct Shape {
    /// Bytes of `SO_RCVBUF`, half of which are for data.
    pub receive_buffer: Option<usize>,
    /// Bytes of `TCP_MAXSEG`.
    pub segment: Option<u32>,
    /// The port to connect from.
    pub source_port: Option<u16>,
    /// The address to connect from.
    pub source_address: Option<IpAddr>,
}

impl Shape {
    /// Connects.
    pub fn dial(&self, address: SocketAddr) -> TcpStream {
        let socket = self.socket(address);
        if self.source_port.is_some() || self.source_address.is_some() {
            let any: IpAddr = if address.is_ipv4() {
                Ipv4Addr::UNSPECIFIED.into()
            } else {
                Ipv6Addr::UNSPECIFIED.into()
            };
            let from = SocketAddr::new(
                self.source_address.unwrap_or(any),
                self.source_port.unwrap_or(0),
            );
            setsockopt(&socket, sockopt::ReuseAddr, &true).expect("it is a socket");
            bind(socket.as_raw_fd(), &SockaddrStorage::from(from)).expect("the port is free");
        }
        connect(socket.as_raw_fd(), &SockaddrStorage::from(address))
            .unwrap_or_else(|error| panic!("{address}: {error}"));
        socket.into()
    }

    /// Listens.
    pub fn listen(&self, address: SocketAddr) -> TcpListener {
        let socket = self.socket(address);
        setsockopt(&socket, sockopt::ReuseAddr, &true).expect("it is a socket");
        bind(socket.as_raw_fd(), &SockaddrStorage::from(address)).expect("the port is free");
        listen(&socket, Backlog::MAXCONN).expect("it is bound");
        socket.into()
    }

    fn socket(&self, address: SocketAddr) -> OwnedFd {
        let family = if address.is_ipv4() {
            AddressFamily::Inet
        } else {
            AddressFamily::Inet6
        };
        let socket = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None);
        let socket = socket.expect("sockets can be made");
        if let Some(bytes) = self.receive_buffer {
            setsockopt(&socket, sockopt::RcvBuf, &bytes).expect("the kernel takes what it can");
        }
        if let Some(bytes) = self.segment {
            setsockopt(&socket, sockopt::TcpMaxSeg, &bytes).expect("it is a possible size");
        }
        socket
    }
}
