//! Messages about a segment that was too big (RFC 1191, RFC 8201), for the model.

use std::collections::HashMap;

use harness::frame::ETHERNET;
use harness::prog_run::PASS;
use lb_common::flow::{Flow, FlowKey, STATE_REPLACED};

use crate::model::sent;
use crate::sums::{balance, get16, get32, put16, put32, sum};

/// Offsets in a message of one family; addresses are pairs, source first.
struct Layout {
    address_bytes: usize,
    outer: usize,
    icmp: usize,
    inner: usize,
    /// The TCP header within, of which RFC 792 promises 8 bytes.
    tcp: usize,
}

const V4: Layout = Layout {
    address_bytes: 4,
    outer: ETHERNET + 12,
    icmp: ETHERNET + 20,
    inner: ETHERNET + 40,
    tcp: ETHERNET + 48,
};

const V6: Layout = Layout {
    address_bytes: 16,
    outer: ETHERNET + 8,
    icmp: ETHERNET + 40,
    inner: ETHERNET + 56,
    tcp: ETHERNET + 88,
};

/// Turns a message about a segment that was carried into one about the segment as it was before.
pub(crate) fn pass_on(packet: &mut [u8], flows: &HashMap<FlowKey, Flow>) -> i32 {
    let is_v4 = get16(packet, 12) == 0x0800;
    let layout = if is_v4 { &V4 } else { &V6 };
    if packet.len() < layout.tcp + 8 || !is_about_tcp(packet, is_v4) {
        return PASS;
    }
    let key = FlowKey {
        source: layout.address(packet, layout.inner + layout.address_bytes),
        destination: layout.address(packet, layout.inner),
        source_port: get16(packet, layout.tcp + 2),
        destination_port: get16(packet, layout.tcp),
    };
    let back = flows
        .get(&key)
        .filter(|flow| flow.state & STATE_REPLACED == 0);
    let Some(back) = back else {
        return PASS;
    };
    let verdict = sent(back);
    let before = packet.to_vec();
    layout.translate(packet, back);
    if is_v4 {
        let headers = |at: usize| move |packet: &[u8]| sum(&packet[at..at + 20]);
        balance(packet, ETHERNET + 10, headers(ETHERNET), &before);
        balance(packet, ETHERNET + 38, headers(ETHERNET + 28), &before);
        balance(
            packet,
            layout.icmp + 2,
            |packet| sum(&packet[layout.icmp..]),
            &before,
        );
    } else {
        let covered =
            |packet: &[u8]| sum(&packet[layout.outer..layout.icmp]) + sum(&packet[layout.icmp..]);
        balance(packet, layout.icmp + 2, covered, &before);
    }
    verdict
}

/// "Fragmentation needed" or "packet too big", whole and without options, with TCP inside.
fn is_about_tcp(packet: &[u8], is_v4: bool) -> bool {
    let message = if is_v4 {
        &packet[ETHERNET + 20..]
    } else {
        &packet[ETHERNET + 40..]
    };
    let inner = &message[8..];
    if is_v4 {
        packet[ETHERNET] == 0x45
            && get16(packet, ETHERNET + 6) & 0x3fff == 0
            && get16(message, 0) == 0x0304
            && inner[0] == 0x45
            && inner[9] == 6
    } else {
        get16(message, 0) == 0x0200 && inner[0] >> 4 == 6 && inner[6] == 6
    }
}

impl Layout {
    fn address(&self, packet: &[u8], at: usize) -> [u8; 16] {
        let mut address = [0; 16];
        if self.address_bytes == 4 {
            address[10..12].fill(0xff);
        }
        let bytes = &packet[at..at + self.address_bytes];
        address[16 - self.address_bytes..].copy_from_slice(bytes);
        address
    }

    /// `back` is the flow of the other direction: it leads to who sent the segment.
    fn translate(&self, packet: &mut [u8], back: &Flow) {
        let size = self.address_bytes;
        let (sender, ours) = (&back.destination[16 - size..], &back.source[16 - size..]);
        packet[self.outer + size..][..size].copy_from_slice(sender);
        packet[self.inner..][..size].copy_from_slice(sender);
        packet[self.inner + size..][..size].copy_from_slice(ours);
        put16(packet, self.tcp, back.destination_port);
        put16(packet, self.tcp + 2, back.source_port);
        let sequence = get32(packet, self.tcp + 4).wrapping_add(back.acknowledgment_shift);
        put32(packet, self.tcp + 4, sequence);
    }
}
