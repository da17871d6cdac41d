//! Segments that nobody's kernel has sent.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd as _;

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, bind, sendto,
    socket,
};

pub const SYN: u8 = 2;
pub const RST: u8 = 4;
pub const PSH: u8 = 8;
pub const ACK: u8 = 16;

/// A TCP header to be sent by a raw socket, and so many bytes behind it: an even number.
#[derive(Debug, Clone, Copy)]
pub struct Segment {
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub sequence: u32,
    pub flags: u8,
    pub payload: u16,
}

impl Segment {
    /// Sends it from the host of this thread, whose address `from` has to be.
    pub fn send(&self) {
        let family = if self.from.is_ipv4() {
            AddressFamily::Inet
        } else {
            AddressFamily::Inet6
        };
        let socket = socket(
            family,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::Tcp,
        );
        let socket = socket.expect("root may have raw sockets");
        // Raw sockets take addresses without ports.
        let bare = |address: SocketAddr| SockaddrStorage::from(SocketAddr::new(address.ip(), 0));
        bind(socket.as_raw_fd(), &bare(self.from)).expect("it is an address of this host");
        let bytes = self.bytes();
        let sent = sendto(
            socket.as_raw_fd(),
            &bytes,
            &bare(self.to),
            MsgFlags::empty(),
        );
        assert_eq!(sent, Ok(bytes.len()));
    }

    fn bytes(&self) -> Vec<u8> {
        let mut header = vec![0; 20 + usize::from(self.payload)];
        header[0..2].copy_from_slice(&self.from.port().to_be_bytes());
        header[2..4].copy_from_slice(&self.to.port().to_be_bytes());
        header[4..8].copy_from_slice(&self.sequence.to_be_bytes());
        header[12] = 5 << 4;
        header[13] = self.flags;
        header[14..16].copy_from_slice(&1024_u16.to_be_bytes());
        let checksum = self.checksum(&header);
        header[16..18].copy_from_slice(&checksum.to_be_bytes());
        header
    }

    /// RFC 9293 section 3.1, and RFC 8200 section 8.1.
    fn checksum(&self, header: &[u8]) -> u16 {
        let mut bytes = Vec::new();
        for address in [self.from, self.to] {
            match address.ip() {
                IpAddr::V4(ip) => bytes.extend(ip.octets()),
                IpAddr::V6(ip) => bytes.extend(ip.octets()),
            }
        }
        bytes.extend([0, 6]);
        bytes.extend((20 + self.payload).to_be_bytes());
        bytes.extend(header);
        let (halves, _) = bytes.as_chunks::<2>();
        let sum: u32 = halves
            .iter()
            .map(|half| u32::from(u16::from_be_bytes(*half)))
            .sum();
        let sum = (sum & 0xffff) + (sum >> 16);
        !u16::try_from((sum & 0xffff) + (sum >> 16)).expect("it is folded")
    }
}
