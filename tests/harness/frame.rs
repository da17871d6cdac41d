//! TCP segments as bytes on the wire, with checksums that are summed from the first byte to the last.

use std::net::{IpAddr, SocketAddr};

pub const FIN: u8 = 0x01;
pub const SYN: u8 = 0x02;
pub const RST: u8 = 0x04;
pub const ACK: u8 = 0x10;
pub const ECE: u8 = 0x40;
pub const CWR: u8 = 0x80;

/// Bytes of an Ethernet header.
pub const ETHERNET: usize = 14;
/// Addresses of an Ethernet header: to a loopback, which has nothing but zeros; from somebody.
pub const HOST: [u8; 12] = [0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 2];
/// The protocol number of TCP.
const TCP: u8 = 6;

/// A segment in an IPv4 or IPv6 packet behind an Ethernet header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub sequence: u32,
    pub acknowledgment: u32,
    pub flags: u8,
    pub window: u16,
    /// A multiple of 4 bytes, at most 40.
    pub options: Vec<u8>,
    pub payload: Vec<u8>,
    /// Time to live or hop limit.
    pub hops: u8,
    /// Options of IPv4: a multiple of 4 bytes, at most 40.
    pub ip_options: Vec<u8>,
}

impl Frame {
    /// An acknowledgment without data.
    pub fn new(from: SocketAddr, to: SocketAddr) -> Self {
        Self {
            from,
            to,
            sequence: 0,
            acknowledgment: 0,
            flags: ACK,
            window: 0,
            options: Vec::new(),
            payload: Vec::new(),
            hops: 64,
            ip_options: Vec::new(),
        }
    }

    /// All of it, from the Ethernet header on.
    pub fn bytes(&self) -> Vec<u8> {
        let tcp = self.tcp();
        let mut frame = HOST.to_vec();
        match (self.from.ip(), self.to.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                frame.extend([0x08, 0x00]);
                frame.extend(self.v4(from.octets(), to.octets(), tcp.len()));
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                frame.extend([0x86, 0xdd, 0x6a, 0x0b, 0xcd, 0xef]);
                frame.extend(length(tcp.len()));
                frame.extend([TCP, self.hops]);
                frame.extend(from.octets());
                frame.extend(to.octets());
            }
            (from, to) => panic!("{from} and {to} are of two families"),
        }
        frame.extend(tcp);
        frame
    }

    fn v4(&self, from: [u8; 4], to: [u8; 4], tcp: usize) -> Vec<u8> {
        let words = u8::try_from(5 + self.ip_options.len() / 4).expect("options are short");
        let mut header = vec![0x40 | words, 0x02];
        header.extend(length(20 + self.ip_options.len() + tcp));
        header.extend([0xbe, 0xef, 0x40, 0x00, self.hops, TCP, 0, 0]);
        header.extend(from);
        header.extend(to);
        header.extend(&self.ip_options);
        let checksum = checksum(&header);
        header[10..12].copy_from_slice(&checksum);
        header
    }

    fn tcp(&self) -> Vec<u8> {
        let words = u8::try_from(5 + self.options.len() / 4).expect("options are short");
        let mut tcp = Vec::new();
        tcp.extend(self.from.port().to_be_bytes());
        tcp.extend(self.to.port().to_be_bytes());
        tcp.extend(self.sequence.to_be_bytes());
        tcp.extend(self.acknowledgment.to_be_bytes());
        tcp.extend([words << 4, self.flags]);
        tcp.extend(self.window.to_be_bytes());
        tcp.extend([0, 0, 0xab, 0xcd]);
        tcp.extend(&self.options);
        tcp.extend(&self.payload);

        let mut summed = pseudo_header(self.from.ip(), self.to.ip(), tcp.len());
        summed.extend(&tcp);
        let checksum = checksum(&summed);
        tcp[16..18].copy_from_slice(&checksum);
        tcp
    }
}

/// RFC 9293 section 3.1 and RFC 8200 section 8.1; of even length.
fn pseudo_header(from: IpAddr, to: IpAddr, tcp: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for address in [from, to] {
        match address {
            IpAddr::V4(address) => bytes.extend(address.octets()),
            IpAddr::V6(address) => bytes.extend(address.octets()),
        }
    }
    bytes.extend([0, TCP]);
    bytes.extend(length(tcp));
    bytes
}

/// RFC 1071 section 1, over bytes of which the last may stand alone.
pub fn checksum(bytes: &[u8]) -> [u8; 2] {
    let (halves, rest) = bytes.as_chunks::<2>();
    let halves = halves
        .iter()
        .map(|half| u32::from(u16::from_be_bytes(*half)));
    let last = rest.first().map_or(0, |last| u32::from(*last) << 8);
    let mut sum = halves.sum::<u32>() + last;
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!u16::try_from(sum).expect("it is folded")).to_be_bytes()
}

fn length(bytes: usize) -> [u8; 2] {
    u16::try_from(bytes)
        .expect("a packet is small")
        .to_be_bytes()
}
