//! Where everything is in a packet, for the model.

use std::ops::Range;

use harness::frame::ETHERNET;
use lb_common::flow::FlowKey;

use crate::sums::get16;

/// What a packet holds, as far as the kernel half tells apart.
pub(crate) enum Content {
    Tcp(Parts),
    /// Ports are in it, but no header that could be rewritten.
    NotPlain(FlowKey),
    Icmp,
    Other,
}

/// Offsets in a packet with a TCP header.
#[derive(Debug)]
pub(crate) struct Parts {
    pub is_v4: bool,
    pub key: FlowKey,
    /// Of the byte with the time to live or hop limit.
    pub hops: usize,
    /// Of the source; the destination is behind it.
    pub addresses: usize,
    pub tcp: usize,
    /// Bytes of the TCP header as it says.
    pub header: usize,
    pub flags: u8,
    /// Bytes of payload; nothing where the lengths contradict each other.
    pub payload: Option<u32>,
}

impl Content {
    pub(crate) fn of(packet: &[u8]) -> Self {
        let content = match get16(packet, 12) {
            0x0800 => Self::of_v4(packet),
            0x86dd => Self::of_v6(packet),
            _ => None,
        };
        content.unwrap_or(Self::Other)
    }

    /// RFC 791 section 3.1.
    fn of_v4(packet: &[u8]) -> Option<Self> {
        let header = packet.get(ETHERNET..ETHERNET + 20)?;
        if header[0] >> 4 != 4 {
            return None;
        }
        match header[9] {
            1 => return Some(Self::Icmp),
            6 => {}
            _ => return None,
        }
        let fragment = get16(header, 6);
        // Behind an offset there are no ports.
        if fragment & 0x1fff != 0 {
            return None;
        }
        let header_bytes = usize::from(header[0] & 15) * 4;
        if header_bytes < 20 {
            return None;
        }
        let said = usize::from(get16(header, 2));
        let mapped = |at: usize| {
            let mut address = [0; 16];
            address[10..12].fill(0xff);
            address[12..].copy_from_slice(&header[at..at + 4]);
            address
        };
        let parts = Parts {
            is_v4: true,
            hops: ETHERNET + 8,
            addresses: ETHERNET + 12,
            tcp: ETHERNET + header_bytes,
            ..Parts::between(mapped(12), mapped(16))
        };
        // "More fragments".
        if fragment & 0x2000 != 0 {
            return parts.not_plain(packet);
        }
        parts.with_tcp(packet, said.checked_sub(header_bytes))
    }

    /// RFC 8200 section 3 and 4.
    fn of_v6(packet: &[u8]) -> Option<Self> {
        let header = packet.get(ETHERNET..ETHERNET + 40)?;
        if header[0] >> 4 != 6 {
            return None;
        }
        if header[6] == 58 {
            return Some(Self::Icmp);
        }
        let address = |at: usize| header[at..at + 16].try_into().expect("it is as long");
        let mut parts = Parts {
            hops: ETHERNET + 7,
            addresses: ETHERNET + 8,
            tcp: ETHERNET + 40,
            ..Parts::between(address(8), address(24))
        };
        if header[6] == 6 {
            return parts.with_tcp(packet, Some(get16(header, 4).into()));
        }
        parts.tcp = behind_extensions(packet, header[6])?;
        parts.not_plain(packet)
    }
}

/// Where TCP begins behind one to four extension headers (RFC 8200 section 4).
fn behind_extensions(packet: &[u8], first: u8) -> Option<usize> {
    let (mut at, mut kind) = (ETHERNET + 40, first);
    for _ in 0..4 {
        let header = packet.get(at..at + 4)?;
        at += match kind {
            0 | 43 | 60 => 8 * (1 + usize::from(header[1])),
            // The thirteen highest bits are the offset.
            44 if get16(header, 2) < 8 => 8,
            _ => return None,
        };
        kind = header[0];
        if kind == 6 {
            return Some(at);
        }
    }
    None
}

impl Parts {
    fn not_plain(mut self, packet: &[u8]) -> Option<Content> {
        let ports = packet.get(self.tcp..self.tcp + 4)?;
        self.key.source_port = get16(ports, 0);
        self.key.destination_port = get16(ports, 2);
        Some(Content::NotPlain(self.key))
    }

    fn between(source: [u8; 16], destination: [u8; 16]) -> Self {
        Self {
            is_v4: false,
            key: FlowKey {
                source,
                destination,
                source_port: 0,
                destination_port: 0,
            },
            hops: 0,
            addresses: 0,
            tcp: 0,
            header: 0,
            flags: 0,
            payload: None,
        }
    }

    /// `said` is what IP says that TCP has.
    fn with_tcp(mut self, packet: &[u8], said: Option<usize>) -> Option<Content> {
        let there = packet.get(self.tcp..)?;
        if there.len() < 20 {
            return None;
        }
        self.key.source_port = get16(there, 0);
        self.key.destination_port = get16(there, 2);
        self.header = usize::from(there[12] >> 4) * 4;
        self.flags = there[13];
        self.payload = said
            .filter(|said| *said <= there.len() && self.header >= 20)
            .and_then(|said| said.checked_sub(self.header))
            .and_then(|payload| u32::try_from(payload).ok());
        Some(Content::Tcp(self))
    }

    /// The bytes of the options, of a packet whose lengths agree.
    pub(crate) fn options(&self) -> Range<usize> {
        self.tcp + 20..self.tcp + self.header
    }
}
