//! What the kernel half has to make of a packet: written from the RFCs and from what `lb-common` says
//! of its maps, byte by byte, with nothing taken from the kernel half itself.

use std::collections::HashMap;

use harness::frame::{ACK, FIN, HOST, RST, SYN};
use harness::kernel_half::LOOPBACK;
use harness::prog_run::{DROP, PASS, REDIRECT};
use lb_common::flow::{
    FLAG_NO_SACK, Flow, FlowKey, Leaving, OFFER_NO_SACK, STATE_CLOSED, STATE_FIN, STATE_LEAVING,
    STATE_PEER_FIN, STATE_REPLACED,
};
use lb_common::listener::ListenerKey;
use lb_common::reason::Reason;

use crate::icmp;
use crate::options::{self, SACK_PERMITTED, TIMESTAMPS};
use crate::parts::{Content, Parts};
use crate::progress::{advance, finish, is_after, is_proven};
use crate::sums::{adjust, get16, get32, put16, put32};

/// The maps of the kernel half.
#[derive(Debug, Default)]
pub(crate) struct Model {
    pub flows: HashMap<FlowKey, Flow>,
    pub leaving: HashMap<FlowKey, Leaving>,
    pub listeners: Vec<ListenerKey>,
    /// What the daemon has said of connections that it opens.
    pub offers: HashMap<FlowKey, u32>,
    pub reasons: [u64; Reason::COUNT],
}

impl Model {
    /// A packet that arrives; the verdict, and what `packet` has become.
    pub(crate) fn arrives(&mut self, packet: &mut [u8]) -> i32 {
        // Only what is addressed to the loopback that these packets arrive by is for this host.
        if packet[..6] != HOST[..6] {
            return PASS;
        }
        match Content::of(packet) {
            Content::Tcp(parts) => self.segment_arrives(packet, &parts),
            Content::NotPlain(key) => {
                if self.flows.contains_key(&key) && !self.finds(&key, STATE_REPLACED) {
                    self.count(Reason::NotPlain);
                }
                PASS
            }
            Content::Icmp => icmp::pass_on(packet, &self.flows),
            Content::Other => PASS,
        }
    }

    /// A packet that this host sends.
    pub(crate) fn leaves(&mut self, packet: &mut [u8]) -> i32 {
        let Content::Tcp(parts) = Content::of(packet) else {
            return PASS;
        };
        if let Some(verdict) = self.belongs_to_flow(packet, &parts) {
            // An end on this host says it.
            return verdict;
        }
        let arriving = FlowKey {
            source: parts.key.destination,
            destination: parts.key.source,
            source_port: parts.key.destination_port,
            destination_port: parts.key.source_port,
        };
        if parts.flags & (SYN | ACK) == SYN {
            if let Some(offer) = self.offers.get(&arriving) {
                normalise(packet, &parts, *offer);
            }
            return PASS;
        }
        let ends = parts.flags & (FIN | RST) != 0;
        let is_live = self.flows.contains_key(&arriving) && !self.finds(&arriving, STATE_REPLACED);
        if ends && is_live && self.was_carried(packet, &parts, &arriving) {
            return PASS;
        }
        if !ends || !is_live || parts.flags & RST == 0 && self.daemon_finishes(&arriving) {
            return PASS;
        }
        self.count(Reason::StrayEnd);
        DROP
    }

    fn count(&mut self, reason: Reason) {
        self.reasons[reason as usize] += 1;
    }

    fn segment_arrives(&mut self, packet: &mut [u8], parts: &Parts) -> i32 {
        if let Some(verdict) = self.belongs_to_flow(packet, parts) {
            return verdict;
        }
        if parts.flags & (SYN | ACK) == SYN && self.is_listened_on(parts) {
            normalise(packet, parts, 0);
            if parts.payload.is_some() {
                self.offers.insert(parts.key, 0);
            }
        }
        PASS
    }

    fn belongs_to_flow(&mut self, packet: &mut [u8], parts: &Parts) -> Option<i32> {
        let asks = parts.flags & (SYN | ACK) == SYN;
        if asks && self.finds(&parts.key, STATE_CLOSED) {
            let reverse = reverse(&self.flows[&parts.key]);
            for key in [parts.key, reverse] {
                if let Some(flow) = self.flows.get_mut(&key) {
                    flow.state |= STATE_REPLACED;
                }
            }
        }
        if self.flows.contains_key(&parts.key) && !self.finds(&parts.key, STATE_REPLACED) {
            return Some(self.carry(packet, parts));
        }
        None
    }

    /// Whether what ends a connection was an end's word, as it leaves for the other.
    fn was_carried(&self, packet: &[u8], parts: &Parts, arriving: &FlowKey) -> bool {
        let Some(flow) = self.flows.get(&reverse(&self.flows[arriving])) else {
            return false;
        };
        if parts.flags & RST != 0 {
            return flow.state & STATE_CLOSED != 0;
        }
        let Some(payload) = parts.payload else {
            return false;
        };
        let end = get32(packet, parts.tcp + 4).wrapping_add(payload + 1);
        flow.state & STATE_FIN != 0
            && end == flow.highest_sequence.wrapping_add(flow.sequence_shift)
    }

    /// Whether there is a flow in this state.
    fn finds(&self, key: &FlowKey, state: u32) -> bool {
        self.flows
            .get(key)
            .is_some_and(|flow| flow.state & state != 0)
    }

    fn is_listened_on(&self, parts: &Parts) -> bool {
        let any = if parts.is_v4 {
            [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0]
        } else {
            [0; 16]
        };
        let port = parts.key.destination_port.into();
        let is_there = |address| self.listeners.contains(&ListenerKey { address, port });
        is_there(parts.key.destination) || is_there(any)
    }

    fn carry(&mut self, packet: &mut [u8], parts: &Parts) -> i32 {
        if self.concerns_socket(packet, parts) {
            return PASS;
        }
        if parts.payload.is_none() {
            self.count(Reason::BadLength);
            return DROP;
        }
        if packet[parts.hops] <= 1 {
            self.count(Reason::TimeToLive);
            return DROP;
        }
        let flow = self.flows[&parts.key];
        let before = packet.to_vec();
        translate(packet, parts, &flow);
        adjust(packet, &before, parts);
        self.observe(&before, parts);
        sent(&flow)
    }

    /// The daemon's socket needs to see what only acknowledges its own bytes.
    fn concerns_socket(&mut self, packet: &[u8], parts: &Parts) -> bool {
        let flow = self.flows.get_mut(&parts.key).expect("it was found");
        if flow.state & STATE_LEAVING == 0 {
            return false;
        }
        let Some(leaving) = self.leaving.get(&parts.key) else {
            flow.state &= !STATE_LEAVING;
            return false;
        };
        if parts.flags & (SYN | FIN | RST) == RST && parts.payload == Some(0) {
            let flow = *flow;
            let back = self.flows.get(&reverse(&flow));
            let sequence = get32(packet, parts.tcp + 4);
            return back.is_some_and(|back| !is_obeyed(&flow, back, sequence));
        }
        let acknowledgment = get32(packet, parts.tcp + 8);
        let is_pure = parts.flags & (SYN | FIN | RST | ACK) == ACK && parts.payload == Some(0);
        if !is_pure || is_after(acknowledgment, leaving.until) {
            return false;
        }
        flow.highest_acknowledgment = later(acknowledgment, flow.highest_acknowledgment);
        true
    }

    /// While the daemon waits to leave, only what was sent can have been acknowledged.
    fn may_acknowledge(&self, key: &FlowKey, acknowledgment: u32) -> bool {
        let flow = &self.flows[key];
        if flow.state & STATE_LEAVING == 0 {
            return true;
        }
        let by_socket = self.leaving.get(key).map(|leaving| leaving.until);
        let back = self.flows.get(&reverse(flow));
        let by_flow = back.map(|back| back.highest_sequence.wrapping_add(back.sequence_shift));
        [by_socket, by_flow]
            .into_iter()
            .flatten()
            .any(|sent| !is_after(acknowledgment, sent))
    }

    /// Whether the daemon passes on a FIN, which then counts as if it had been carried.
    fn daemon_finishes(&mut self, arriving: &FlowKey) -> bool {
        let may = self
            .leaving
            .get(arriving)
            .is_some_and(|leaving| leaving.may_finish != 0);
        if !may {
            return false;
        }
        let opposite = reverse(&self.flows[arriving]);
        if let Some(ended) = self.flows.get_mut(&opposite)
            && ended.state & STATE_FIN == 0
        {
            ended.state |= STATE_FIN;
            ended.highest_sequence = ended.highest_sequence.wrapping_add(1);
            let flow = self.flows.get_mut(arriving).expect("it was found");
            flow.state |= STATE_PEER_FIN;
        }
        true
    }

    /// What is kept of a segment that was carried; `packet` is as it arrived.
    fn observe(&mut self, packet: &[u8], parts: &Parts) {
        let payload = parts.payload.expect("it was carried");
        let sequence = get32(packet, parts.tcp + 4);
        let acknowledgment = get32(packet, parts.tcp + 8);
        let has = |flag| parts.flags & flag != 0;
        let end = sequence.wrapping_add(payload).wrapping_add(has(FIN).into());

        let mut flow = self.flows[&parts.key];
        flow.packets += 1;
        flow.bytes += u64::from(payload);
        if has(ACK) && self.may_acknowledge(&parts.key, acknowledgment) {
            flow.highest_acknowledgment = later(acknowledgment, flow.highest_acknowledgment);
        }
        let opposite = reverse(&flow);
        let back = self.flows.get(&opposite).copied();
        if !has(SYN) && !has(RST) && is_after(end, flow.highest_sequence) {
            advance(&mut flow, back.as_ref(), sequence, end);
        }
        if let Some(back) = self.flows.get_mut(&opposite) {
            if has(RST) {
                if is_obeyed(&flow, back, sequence) {
                    flow.state |= STATE_CLOSED;
                    back.state |= STATE_CLOSED;
                }
            } else {
                finish(&mut flow, back, has(FIN).then_some(end));
            }
        }
        self.flows.insert(parts.key, flow);
    }
}

/// Whether the receiver of `flow` obeys a reset, `back` being the other direction.
fn is_obeyed(flow: &Flow, back: &Flow, sequence: u32) -> bool {
    let there = sequence.wrapping_add(flow.sequence_shift);
    let is_at_end = sequence == flow.highest_sequence && is_proven(flow, back);
    there == back.highest_acknowledgment || is_at_end
}

/// What is already on the loopback, where all these packets are, need not be sent there.
pub(crate) fn sent(flow: &Flow) -> i32 {
    if flow.interface == LOOPBACK {
        PASS
    } else {
        REDIRECT
    }
}

/// Everything but the checksums.
fn translate(packet: &mut [u8], parts: &Parts, flow: &Flow) {
    let tcp = parts.tcp;
    packet[parts.hops] -= 1;
    let bytes = if parts.is_v4 { 4 } else { 16 };
    packet[parts.addresses..][..bytes].copy_from_slice(&flow.source[16 - bytes..]);
    packet[parts.addresses + bytes..][..bytes].copy_from_slice(&flow.destination[16 - bytes..]);
    put16(packet, tcp, flow.source_port);
    put16(packet, tcp + 2, flow.destination_port);
    put32(
        packet,
        tcp + 4,
        get32(packet, tcp + 4).wrapping_add(flow.sequence_shift),
    );
    if parts.flags & ACK != 0 {
        let shifted = get32(packet, tcp + 8).wrapping_add(flow.acknowledgment_shift);
        put32(packet, tcp + 8, shifted);
    }
    if parts.flags & SYN == 0 {
        put16(packet, tcp + 14, window(get16(packet, tcp + 14), flow));
        let blank = flow.flags & FLAG_NO_SACK != 0;
        options::move_sack(
            &mut packet[parts.options()],
            flow.acknowledgment_shift,
            blank,
        );
    }
}

/// RFC 7323 section 2.3, once for the sender's leg and once, back, for the receiver's.
fn window(announced: u16, flow: &Flow) -> u16 {
    let bytes = u64::from(announced) << flow.window_left;
    let units = (bytes >> flow.window_right).min(0xffff);
    let least = u64::from(announced != 0);
    u16::try_from(units.max(least)).expect("it is clamped")
}

/// Neither timestamps nor ECN in any of its forms (RFC 3168 section 6.1.1, RFC 9768 section 3.1).
fn normalise(packet: &mut [u8], parts: &Parts, offer: u32) {
    if parts.payload.is_none() {
        return;
    }
    let before = packet.to_vec();
    packet[parts.tcp + 12] &= !0x01;
    packet[parts.tcp + 13] &= !0xc0;
    options::blank(&mut packet[parts.options()], TIMESTAMPS);
    if offer & OFFER_NO_SACK != 0 {
        options::blank(&mut packet[parts.options()], SACK_PERMITTED);
    }
    adjust(packet, &before, parts);
}

fn reverse(flow: &Flow) -> FlowKey {
    FlowKey {
        source: flow.destination,
        destination: flow.source,
        source_port: flow.destination_port,
        destination_port: flow.source_port,
    }
}

fn later(a: u32, b: u32) -> u32 {
    if is_after(a, b) { a } else { b }
}
