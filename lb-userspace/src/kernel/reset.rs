//! Resets, sent on behalf of connections that have no socket.

use std::io;
use std::net::{IpAddr, SocketAddr};

use lb_common::flow::Flow;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::flows::flow_addresses;
use super::netlink::octets;

const TCP: u8 = 6;
const HEADER_BYTES: u8 = 20;
const RST: u8 = 0x04;

/// Resets both ends of a connection; `flows` are those from the client and from the broker.
///
/// # Errors
///
/// `EPERM` without `CAP_NET_RAW`; the other end is still told.
pub fn both(flows: [&Flow; 2]) -> io::Result<()> {
    let [up, down] = flows;
    let told = [
        send(flow_addresses(down), up.highest_acknowledgment),
        broker(flows),
    ];
    told.into_iter().collect()
}

/// Resets the broker's end of a connection.
///
/// # Errors
///
/// `EPERM` without `CAP_NET_RAW`.
pub fn broker([up, down]: [&Flow; 2]) -> io::Result<()> {
    send(flow_addresses(up), down.highest_acknowledgment)
}

/// `sequence` is what the end has acknowledged, and so expects next: only a reset with exactly that
/// number is obeyed at once (RFC 5961 section 3.2).
fn send([from, to]: [SocketAddr; 2], sequence: u32) -> io::Result<()> {
    let kind = Type::RAW.cloexec().nonblocking();
    let protocol = Some(Protocol::from(i32::from(TCP)));
    let socket = Socket::new(Domain::for_address(from), kind, protocol)?;
    socket.bind(&SockAddr::from(SocketAddr::new(from.ip(), 0)))?;
    // Raw sockets take addresses without ports.
    let peer = SockAddr::from(SocketAddr::new(to.ip(), 0));
    socket.send_to(&segment(from, to, sequence), &peer)?;
    Ok(())
}

/// A TCP header with RST (RFC 9293 section 3.1).
fn segment(from: SocketAddr, to: SocketAddr, sequence: u32) -> [u8; HEADER_BYTES as usize] {
    let mut header = [0; HEADER_BYTES as usize];
    header[0..2].copy_from_slice(&from.port().to_be_bytes());
    header[2..4].copy_from_slice(&to.port().to_be_bytes());
    header[4..8].copy_from_slice(&sequence.to_be_bytes());
    header[12] = (HEADER_BYTES / 4) << 4;
    header[13] = RST;
    let checksum = checksum(from.ip(), to.ip(), &header);
    header[16..18].copy_from_slice(&checksum.to_be_bytes());
    header
}

/// The checksum over pseudo-header and header (RFC 9293 section 3.1; RFC 8200 section 8.1).
fn checksum(from: IpAddr, to: IpAddr, header: &[u8]) -> u16 {
    let mut bytes = octets(from);
    bytes.extend(octets(to));
    bytes.extend([0, TCP, 0, HEADER_BYTES]);
    bytes.extend(header);
    let (halves, _) = bytes.as_chunks::<2>();
    let mut sum: u32 = halves
        .iter()
        .map(|half| u32::from(u16::from_be_bytes(*half)))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{checksum, segment};

    #[test]
    fn a_segment_sums_to_zero_with_its_checksum() {
        for [from, to] in [
            ["10.0.0.1:1883", "10.0.0.2:40000"],
            ["[fd00::1]:1883", "[fd00::2]:40000"],
        ] {
            let (from, to) = (from.parse().unwrap(), to.parse().unwrap());
            let segment = segment(from, to, 0x0102_0304);

            assert_eq!(segment[4..8], [1, 2, 3, 4]);
            assert_eq!(segment[13], 4);
            assert_eq!(checksum(from.ip(), to.ip(), &segment), 0);
        }
    }
}
