//! Ethernet, IPv4 or IPv6, and TCP, read into one `Segment`.

use aya_ebpf::programs::TcContext;
use network_types::eth::{EthHdr, EtherType};
use network_types::ip::{IpProto, Ipv4Hdr, Ipv6Hdr};
use network_types::tcp::TcpHdr;

use crate::packet;

/// The addresses and flags of a TCP segment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Segment {
    /// IPv4 addresses are IPv4-mapped.
    pub source: [u8; 16],
    pub destination: [u8; 16],
    pub source_port: u16,
    pub destination_port: u16,
    pub is_syn: bool,
}

/// Fragment offset without the flags before it (RFC 791 section 3.1).
const FRAGMENT_OFFSET: u16 = 0x1fff;

/// The TCP segment in a packet; nothing where there is none, or where its header is cut short, in
/// a later fragment, or behind IPv6 extension headers.
#[inline(always)]
pub(crate) fn read(ctx: &TcContext) -> Option<Segment> {
    match packet::at::<EthHdr>(ctx, 0)?.ether_type() {
        Ok(EtherType::Ipv4) => {
            let ip: Ipv4Hdr = packet::at(ctx, EthHdr::LEN)?;
            let is_later_fragment = u16::from_be_bytes(ip.frags) & FRAGMENT_OFFSET != 0;
            if ip.proto != IpProto::Tcp as u8 || is_later_fragment {
                return None;
            }
            let tcp = packet::at(ctx, EthHdr::LEN + usize::from(ip.ihl()))?;
            Some(segment(mapped(ip.src_addr), mapped(ip.dst_addr), &tcp))
        }
        Ok(EtherType::Ipv6) => {
            let ip: Ipv6Hdr = packet::at(ctx, EthHdr::LEN)?;
            if ip.next_hdr != IpProto::Tcp as u8 {
                return None;
            }
            let tcp = packet::at(ctx, EthHdr::LEN + Ipv6Hdr::LEN)?;
            Some(segment(ip.src_addr, ip.dst_addr, &tcp))
        }
        Ok(_) | Err(_) => None,
    }
}

#[inline(always)]
fn segment(source: [u8; 16], destination: [u8; 16], tcp: &TcpHdr) -> Segment {
    Segment {
        source,
        destination,
        source_port: u16::from_be_bytes(tcp.source),
        destination_port: u16::from_be_bytes(tcp.dest),
        is_syn: tcp.syn() != 0 && tcp.ack() == 0,
    }
}

/// An IPv4 address as IPv6 (RFC 4291 section 2.5.5.2).
#[inline(always)]
fn mapped(address: [u8; 4]) -> [u8; 16] {
    let [a, b, c, d] = address;
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d]
}
