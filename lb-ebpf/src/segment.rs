//! Ethernet, IPv4 or IPv6, and TCP, read into one `Segment`.

use aya_ebpf::programs::TcContext;
use lb_common::flow::FlowKey;
use network_types::eth::EtherType;
use network_types::ip::IpProto;

use crate::packet::{self, ETHERNET_BYTES};

/// Flags of TCP (RFC 9293 section 3.1; RFC 3168 section 6.1).
pub(crate) const FIN: u8 = 0x01;
pub(crate) const SYN: u8 = 0x02;
pub(crate) const RST: u8 = 0x04;
pub(crate) const ACK: u8 = 0x10;

/// Bytes of a TCP header without options.
pub(crate) const TCP_BYTES: usize = 20;

const IPV6_BYTES: usize = 40;
/// "More fragments" and the fragment offset, as they lie in memory (RFC 791 section 3.1).
pub(crate) const FRAGMENT: u16 = 0x3fff_u16.to_be();
/// The offset alone.
const FRAGMENT_OFFSET: u16 = 0x1fff_u16.to_be();
/// Extension headers that are looked behind, more than anybody sends.
const EXTENSIONS: usize = 4;
/// Bytes 8 to 11 of an IPv4-mapped address, as they lie in memory (RFC 4291 section 2.5.5.2).
pub(crate) const MAPPED: u32 = 0x0000_ffff_u32.to_be();

/// What travels in a packet.
pub(crate) enum Content {
    Tcp(Segment),
    /// The first fragment of a segment, or one behind IPv6 extension headers: not ours to rewrite.
    /// Later fragments do not say whose they are.
    NotPlain(FlowKey),
    /// ICMP for IPv4 or IPv6.
    Icmp,
    Icmpv6,
    Other,
}

/// Where a TCP segment lies in a packet, and what it says.
#[derive(Clone, Copy)]
pub(crate) struct Segment {
    pub key: FlowKey,
    pub is_v4: bool,
    /// Offset of the TCP header, in bytes from the start of the packet.
    pub tcp: usize,
    /// Bytes of TCP header and payload; 0 where the IP header does not say.
    pub bytes: u32,
    /// Bytes of the TCP header with its options, as it says: 0 to 60.
    pub header_bytes: u32,
    pub flags: u8,
}

/// The content of a packet whose headers are linear.
#[inline(always)]
pub(crate) fn read(ctx: &TcContext) -> Content {
    let Some(ethertype) = packet::at::<u16>(ctx, 12) else {
        return Content::Other;
    };
    // SAFETY: `at` checked the bounds; the BPF machine has no alignment.
    let ethertype = unsafe { *ethertype };
    let content = if ethertype == EtherType::Ipv4 as u16 {
        read_v4(ctx)
    } else if ethertype == EtherType::Ipv6 as u16 {
        read_v6(ctx)
    } else {
        None
    };
    content.unwrap_or(Content::Other)
}

#[inline(always)]
fn read_v4(ctx: &TcContext) -> Option<Content> {
    let words = packet::at::<[u32; 5]>(ctx, ETHERNET_BYTES)?;
    let halves = words.cast::<u16>();
    // SAFETY: `at` checked 20 bytes; all that is read lies in them.
    let (first, length, fragment, protocol) = unsafe {
        let protocol = *words.cast::<u8>().add(9);
        (
            *words.cast::<u8>(),
            *halves.add(1),
            *halves.add(3),
            protocol,
        )
    };
    if first >> 4 != 4 {
        return None;
    }
    if protocol == IpProto::Icmp as u8 {
        return Some(Content::Icmp);
    }
    if protocol != IpProto::Tcp as u8 {
        return None;
    }
    if fragment & FRAGMENT_OFFSET != 0 {
        return None;
    }
    let header_bytes = usize::from(first & 0x0f) * 4;
    if header_bytes < 20 {
        return None;
    }
    // SAFETY: as above.
    let (source, destination) = unsafe { ((*words)[3], (*words)[4]) };
    let addresses = [0, 0, MAPPED, source, 0, 0, MAPPED, destination];
    if fragment & FRAGMENT != 0 {
        return not_plain(ctx, &addresses, ETHERNET_BYTES + header_bytes);
    }
    let bytes = u32::from(u16::from_be(length)).saturating_sub(header_bytes as u32);
    segment(ctx, &addresses, ETHERNET_BYTES + header_bytes, bytes, true)
}

#[inline(always)]
fn read_v6(ctx: &TcContext) -> Option<Content> {
    let words = packet::at::<[u32; 10]>(ctx, ETHERNET_BYTES)?;
    // SAFETY: `at` checked 40 bytes.
    let words = unsafe { &*words };
    if words[0].to_ne_bytes()[0] >> 4 != 6 {
        return None;
    }
    let next_header = words[1].to_ne_bytes()[2];
    if next_header == IpProto::Ipv6Icmp as u8 {
        return Some(Content::Icmpv6);
    }
    let addresses = [
        words[2], words[3], words[4], words[5], words[6], words[7], words[8], words[9],
    ];
    if next_header != IpProto::Tcp as u8 {
        return behind_extensions(ctx, next_header, &addresses);
    }
    let [high, low, ..] = words[1].to_ne_bytes();
    let bytes = u32::from(u16::from_be_bytes([high, low]));
    segment(ctx, &addresses, ETHERNET_BYTES + IPV6_BYTES, bytes, false)
}

/// Hop-by-hop options, routing, fragment, destination options (RFC 8200 section 4).
#[inline(always)]
fn behind_extensions(ctx: &TcContext, first: u8, addresses: &[u32; 8]) -> Option<Content> {
    const FRAGMENT_HEADER: u8 = 44;
    let mut next_header = first;
    let mut offset = ETHERNET_BYTES + IPV6_BYTES;
    for _ in 0..EXTENSIONS {
        if !matches!(next_header, 0 | 43 | FRAGMENT_HEADER | 60) {
            return None;
        }
        let header = packet::at::<[u8; 4]>(ctx, offset)?;
        // SAFETY: `at` checked 4 bytes.
        let [next, length, f0, f1] = unsafe { *header };
        if next_header != FRAGMENT_HEADER {
            offset += 8 + 8 * usize::from(length);
        } else if u16::from_be_bytes([f0, f1]) >> 3 == 0 {
            offset += 8;
        } else {
            return None;
        }
        if next == IpProto::Tcp as u8 {
            return not_plain(ctx, addresses, offset);
        }
        next_header = next;
    }
    None
}

#[inline(always)]
fn not_plain(ctx: &TcContext, addresses: &[u32; 8], tcp: usize) -> Option<Content> {
    let ports = packet::at::<u32>(ctx, tcp)?;
    // SAFETY: `at` checked 4 bytes.
    Some(Content::NotPlain(key(addresses, unsafe { *ports })))
}

#[inline(always)]
fn segment(
    ctx: &TcContext,
    addresses: &[u32; 8],
    tcp: usize,
    bytes: u32,
    is_v4: bool,
) -> Option<Content> {
    let words = packet::at::<[u32; 5]>(ctx, tcp)?;
    // SAFETY: `at` checked 20 bytes.
    let (ports, offset_and_flags) = unsafe { ((*words)[0], (*words)[3].to_ne_bytes()) };
    Some(Content::Tcp(Segment {
        key: key(addresses, ports),
        is_v4,
        tcp,
        bytes,
        header_bytes: u32::from(offset_and_flags[0] >> 4) * 4,
        flags: offset_and_flags[1],
    }))
}

#[inline(always)]
fn key(addresses: &[u32; 8], ports: u32) -> FlowKey {
    let [s0, s1, d0, d1] = ports.to_ne_bytes();
    let [source, destination] = pair_of_addresses(addresses);
    FlowKey {
        source,
        destination,
        source_port: u16::from_be_bytes([s0, s1]),
        destination_port: u16::from_be_bytes([d0, d1]),
    }
}

/// Source and destination from their words in memory order.
#[inline(always)]
pub(crate) fn pair_of_addresses(words: &[u32; 8]) -> [[u8; 16]; 2] {
    // SAFETY: both are 32 bytes, and any bytes are an address.
    unsafe { core::mem::transmute(*words) }
}
