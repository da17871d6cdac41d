//! "Fragmentation needed" and "packet too big" about a segment that was carried.
//!
//! A router on one leg tells this host, which has no socket, that a segment did not fit. The segment
//! was the other end's, so the message is turned into one about the segment as that end sent it
//! (RFC 1191, RFC 8201): its addresses, ports and number, each in the place where it was.

use aya_ebpf::EbpfContext as _;
use aya_ebpf::bindings::TC_ACT_UNSPEC;
use aya_ebpf::helpers::generated::bpf_l4_csum_replace;
use aya_ebpf::programs::TcContext;
use lb_common::flow::{Flow, FlowKey, STATE_REPLACED};
use network_types::ip::IpProto;

use crate::checksum;
use crate::maps::FLOWS;
use crate::packet::{self, ETHERNET_BYTES};
use crate::segment::{FRAGMENT, MAPPED, pair_of_addresses};
use crate::splice::{self, word};

/// Where ICMP lies in a packet without options and extension headers.
const V4_ICMP: usize = ETHERNET_BYTES + 20;
const V6_ICMP: usize = ETHERNET_BYTES + 40;

/// Type 3, code 4 (RFC 792); type 2, code 0 (RFC 4443 section 3.2); as they lie in memory.
const FRAGMENTATION_NEEDED: u16 = 0x0304_u16.to_be();
const PACKET_TOO_BIG: u16 = 0x0200_u16.to_be();

/// Version 4 and a header of five words.
const PLAIN_V4: u8 = 0x45;

/// Passes the message on to whom it concerns; everything else is the host's.
#[inline(always)]
pub(crate) fn pass_on_v4(ctx: &TcContext) -> i32 {
    try_v4(ctx).unwrap_or(TC_ACT_UNSPEC)
}

#[inline(always)]
pub(crate) fn pass_on_v6(ctx: &TcContext) -> i32 {
    try_v6(ctx).unwrap_or(TC_ACT_UNSPEC)
}

#[inline(always)]
fn try_v4(ctx: &TcContext) -> Option<i32> {
    // Outer header, ICMP, inner header, ports and sequence number: all of it lies in here.
    let words = packet::at::<[u32; 14]>(ctx, ETHERNET_BYTES)?;
    // SAFETY: `at` checked 56 bytes.
    let words = unsafe { &mut *words };
    let [_, _, f0, f1] = words[1].to_ne_bytes();
    let is_whole = u16::from_ne_bytes([f0, f1]) & FRAGMENT == 0;
    let is_plain = words[0].to_ne_bytes()[0] == PLAIN_V4 && words[7].to_ne_bytes()[0] == PLAIN_V4;
    let is_about_tcp = words[9].to_ne_bytes()[1] == IpProto::Tcp as u8;
    let [kind, code, ..] = words[5].to_ne_bytes();
    if u16::from_ne_bytes([kind, code]) != FRAGMENTATION_NEEDED
        || !is_whole
        || !is_plain
        || !is_about_tcp
    {
        return None;
    }
    let sent = [0, 0, MAPPED, words[10], 0, 0, MAPPED, words[11]];
    let flow = flow_against(&sent, words[12])?;

    let outer = checksum::change(words[4], word(&flow.destination, 3));
    words[4] = word(&flow.destination, 3);
    words[2] = with_checksum(words[2], outer);
    let inner =
        checksum::change(words[10], words[4]) + checksum::change(words[11], word(&flow.source, 3));
    words[10] = words[4];
    words[11] = word(&flow.source, 3);
    words[9] = with_checksum(words[9], inner);
    // The inner header's checksum makes up for its addresses, so only what follows adds to the sum.
    let [ports, sequence] = as_it_was(words[13], flow);
    let change = checksum::change(words[12], ports) + checksum::change(words[13], sequence);
    words[12] = ports;
    words[13] = sequence;
    sum(ctx, V4_ICMP + 2, change);
    Some(splice::send(ctx, flow, true))
}

#[inline(always)]
fn try_v6(ctx: &TcContext) -> Option<i32> {
    let words = packet::at::<[u32; 24]>(ctx, ETHERNET_BYTES)?;
    // SAFETY: `at` checked 96 bytes.
    let words = unsafe { &mut *words };
    let [kind, code, ..] = words[10].to_ne_bytes();
    let is_about_tcp = words[13].to_ne_bytes()[2] == IpProto::Tcp as u8;
    let is_v6 = words[12].to_ne_bytes()[0] >> 4 == 6;
    if u16::from_ne_bytes([kind, code]) != PACKET_TOO_BIG || !is_v6 || !is_about_tcp {
        return None;
    }
    let sent = [
        words[14], words[15], words[16], words[17], words[18], words[19], words[20], words[21],
    ];
    let flow = flow_against(&sent, words[22])?;

    let mut change = 0;
    for n in 0..4 {
        let (client, ours) = (word(&flow.destination, n), word(&flow.source, n));
        change += checksum::change(words[6 + n], client)
            + checksum::change(words[14 + n], client)
            + checksum::change(words[18 + n], ours);
        words[6 + n] = client;
        words[14 + n] = client;
        words[18 + n] = ours;
    }
    let [ports, sequence] = as_it_was(words[23], flow);
    change += checksum::change(words[22], ports) + checksum::change(words[23], sequence);
    words[22] = ports;
    words[23] = sequence;
    sum(ctx, V6_ICMP + 2, change);
    Some(splice::send(ctx, flow, false))
}

/// The flow of the opposite direction: its segments arrive from where this one was sent to.
#[inline(always)]
fn flow_against(sent: &[u32; 8], ports: u32) -> Option<&'static Flow> {
    let [source, destination] = pair_of_addresses(sent);
    let [s0, s1, d0, d1] = ports.to_ne_bytes();
    let flow = FLOWS.get_ptr(FlowKey {
        source: destination,
        destination: source,
        source_port: u16::from_be_bytes([d0, d1]),
        destination_port: u16::from_be_bytes([s0, s1]),
    })?;
    // SAFETY: the map gave the pointer, which is good until the program ends.
    let flow = unsafe { &*flow };
    (flow.state & STATE_REPLACED == 0).then_some(flow)
}

/// Ports and sequence number of the segment before it was carried.
#[inline(always)]
fn as_it_was(sequence: u32, flow: &Flow) -> [u32; 2] {
    let [s0, s1] = flow.destination_port.to_be_bytes();
    let [d0, d1] = flow.source_port.to_be_bytes();
    // The opposite direction moves acknowledgments back by just what this one moved numbers ahead.
    let sequence = u32::from_be(sequence).wrapping_add(flow.acknowledgment_shift);
    [u32::from_ne_bytes([s0, s1, d0, d1]), sequence.to_be()]
}

/// The word of an IPv4 header that ends with its checksum.
#[inline(always)]
fn with_checksum(word: u32, change: u64) -> u32 {
    let [a, b, c0, c1] = word.to_ne_bytes();
    let [c0, c1] = checksum::update(u16::from_ne_bytes([c0, c1]), change).to_ne_bytes();
    u32::from_ne_bytes([a, b, c0, c1])
}

/// Adds a change to the message's own checksum.
#[inline(always)]
fn sum(ctx: &TcContext, checksum: usize, change: u64) {
    let change = u64::from(checksum::fold(change));
    // SAFETY: a plain call of a helper; no pointer into the packet is used after it. No device is still
    // to complete the checksum of a message, so its pseudo-header (RFC 4443 section 2.3) is as good as
    // bytes of its own.
    unsafe {
        bpf_l4_csum_replace(ctx.as_ptr().cast(), checksum as u32, 0, change, 0);
    }
}
