//! Random connections and packets, the same from the same seed.

use harness::bed::Family;
use harness::frame::{ACK, ETHERNET, FIN, Frame, RST, SYN};
use harness::kernel_half::{ELSEWHERE, LOOPBACK};
use lb_common::flow::{FLAG_NO_SACK, Flow, FlowKey, Leaving, OFFER_NO_SACK};

use crate::ground::{Ends, Ground, Way};
use crate::sums::put16;
use crate::too_big;

/// Marsaglia, "Xorshift RNGs" (2003), with 64 bits.
pub(crate) struct Random(pub u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() >> 32).expect("it has 32 bits") % bound
    }

    pub(crate) fn one_in(&mut self, bound: usize) -> bool {
        self.below(bound) == 0
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    fn byte(&mut self) -> u8 {
        self.next().to_be_bytes()[0]
    }

    fn number(&mut self) -> u32 {
        let [a, b, c, d, ..] = self.next().to_be_bytes();
        u32::from_be_bytes([a, b, c, d])
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        let length = self.below(most + 1);
        (0..length).map(|_| self.byte()).collect()
    }

    /// Replaces a connection and what the daemon has of it.
    pub(crate) fn connect(&mut self, ground: &mut Ground, ends: &Ends) {
        for (key, flow) in ends.flows() {
            let flow = self.flow(flow);
            ground.put(key, flow);
            let until = near(self, flow.highest_acknowledgment);
            let may_finish = u32::from(self.one_in(2));
            let offer = self.pick(&[0, OFFER_NO_SACK]);
            ground.announce(key, offer);
            if self.one_in(2) {
                ground.leave(key, Leaving { until, may_finish });
            } else if ground.model.leaving.remove(&key).is_some() {
                ground.kernel.leaving.remove(&key).unwrap();
            }
        }
    }

    fn flow(&mut self, flow: Flow) -> Flow {
        let sent = self.number();
        Flow {
            sequence_shift: self.number(),
            acknowledgment_shift: self.number(),
            window_left: self.byte() % 15,
            window_right: self.byte() % 15,
            flags: flow.flags | self.pick(&[0, FLAG_NO_SACK]),
            highest_sequence: sent,
            highest_acknowledgment: self.number(),
            interface: self.pick(&[ELSEWHERE, ELSEWHERE, LOOPBACK]),
            gap_end: sent.wrapping_sub(self.number() % 3),
            state: if self.one_in(2) {
                0
            } else {
                u32::from(self.byte()) & 127
            },
            ..flow
        }
    }

    /// A packet, and which way it goes.
    pub(crate) fn packet(&mut self, ground: &Ground) -> (Way, Vec<u8>) {
        let family = self.pick(&Family::BOTH);
        let ends = Ends::of(family);
        let way = if self.one_in(5) { Way::Out } else { Way::In };
        let mut bytes = if self.one_in(25) {
            self.message(family, &ends)
        } else {
            self.segment(ground, &ends, way).bytes()
        };
        if self.one_in(2) {
            for _ in 0..=self.below(3) {
                self.spoil(&mut bytes);
            }
        }
        (way, bytes)
    }

    fn segment(&mut self, ground: &Ground, ends: &Ends, way: Way) -> Frame {
        let keys = [ends.up(), ends.down()];
        // What leaves is said by this host, or by an end on it.
        let is_of_end = way == Way::In || self.one_in(3);
        let (from, to, key) = match (is_of_end, self.below(2)) {
            (true, 0) => (ends.client, ends.listener, keys[0]),
            (true, _) => (ends.broker, ends.ours, keys[1]),
            (false, 0) => (ends.listener, ends.client, keys[0]),
            (false, _) => (ends.ours, ends.broker, keys[1]),
        };
        let mut frame = Frame::new(from, to);
        if self.one_in(8) {
            frame.from.set_port(1 + frame.from.port());
        }
        frame.flags = self.pick(&[
            ACK,
            ACK,
            ACK,
            0x18,
            SYN,
            SYN | 0xc0,
            FIN | ACK,
            RST,
            RST | ACK,
            SYN | ACK,
            0,
        ]);
        if self.one_in(10) {
            frame.flags = self.byte();
        }
        (frame.sequence, frame.acknowledgment) = self.numbers(ground, &key);
        frame.window = self.pick(&[0, 1, 2, 0xffff, 0x8000, 501, 64_240]);
        frame.hops = if self.one_in(30) { self.byte() % 3 } else { 64 };
        frame.payload = if self.one_in(3) {
            self.bytes(60)
        } else {
            Vec::new()
        };
        frame.options = self.options();
        if self.one_in(20) {
            frame.ip_options = vec![1; 4 * self.below(11)];
        }
        frame
    }

    /// Where they matter most often: around what a flow has seen.
    fn numbers(&mut self, ground: &Ground, key: &FlowKey) -> (u32, u32) {
        let Some(flow) = ground.model.flows.get(key) else {
            return (self.number(), self.number());
        };
        let reverse = ground.model.flows.get(&FlowKey::reverse(flow));
        let acknowledged = reverse.map_or(0, |reverse| reverse.highest_acknowledgment);
        let sequence = self.pick(&[
            flow.highest_sequence,
            acknowledged.wrapping_sub(flow.sequence_shift),
        ]);
        let until = ground
            .model
            .leaving
            .get(key)
            .map_or(0, |leaving| leaving.until);
        let sent = reverse.map_or(0, |reverse| reverse.highest_sequence);
        let acknowledgment = self.pick(&[
            flow.highest_acknowledgment,
            sent.wrapping_sub(flow.acknowledgment_shift),
            until,
        ]);
        (near(self, sequence), near(self, acknowledgment))
    }

    /// Well-formed options, most of the time.
    fn options(&mut self) -> Vec<u8> {
        let mut options = Vec::new();
        for _ in 0..self.below(6) {
            match self.below(8) {
                0..3 => options.push(1),
                3 => options.extend([8, 10, 1, 2, 3, 4, 5, 6, 7, 8]),
                4 => options.extend([2, 4, 5, 0xb4, 4, 2, 3, 3, 7]),
                5 => options.extend([[253, 5].as_slice(), &[self.byte(), 5, 10]].concat()),
                _ => {
                    let bytes = self.pick(&[8, 8, 16, 24, 32, 4, 7]);
                    options.extend([5, bytes + 2]);
                    options.extend((0..bytes).map(|_| self.byte()));
                }
            }
        }
        if self.one_in(10) {
            options = self.bytes(40);
        }
        options.truncate(40);
        let filler = self.pick(&[0, 1]);
        options.resize(options.len().next_multiple_of(4), filler);
        options
    }

    fn message(&mut self, family: Family, ends: &Ends) -> Vec<u8> {
        let (segment, to) = if self.one_in(2) {
            (ends.broker_gets(self.number(), self.number()), ends.ours)
        } else {
            (
                ends.client_gets(self.number(), self.number()),
                ends.listener,
            )
        };
        let bytes = segment.bytes();
        let quoted = bytes.len() - 20 + 8 + self.below(13);
        too_big::message(too_big::router(family), to, &bytes[ETHERNET..quoted])
    }

    /// Does one bad thing to a packet, its checksums not brought up to date.
    fn spoil(&mut self, packet: &mut Vec<u8>) {
        let at = self.below(packet.len());
        let is_v4 = packet[13] == 0;
        let tcp = ETHERNET + if is_v4 { 20 } else { 40 };
        match self.below(9) {
            0 => packet[at] ^= 1 << self.below(8),
            1 => packet[at] = self.pick(&[0, 1, 2, 5, 6, 8, 10, 34, 0x7f, 0x80, 0xff]),
            // The kernel takes no packet that ends before its IP header does.
            2 => packet.truncate(at.max(tcp)),
            3 => packet.extend(self.bytes(20)),
            4 if packet.len() >= ETHERNET + 6 => {
                let length = u16::try_from(self.below(packet.len() + 20)).expect("it is short");
                put16(packet, ETHERNET + if is_v4 { 2 } else { 4 }, length);
            }
            5 if packet.len() > ETHERNET => {
                packet[ETHERNET] = self.pick(&[0x45, 0x46, 0x44, 0x4f, 0x60, 0x65]);
            }
            6 if packet.len() > tcp + 12 => packet[tcp + 12] = self.byte() & 0xf1,
            7 if packet.len() > ETHERNET + 8 => packet[ETHERNET + 6 + self.below(2)] = self.byte(),
            8 if packet.len() > tcp + 24 => {
                let option = tcp + 20 + self.below((packet.len() - tcp - 20).min(40));
                packet[option] = self.pick(&[0, 1, 2, 3, 5, 8, 10, 18, 26, 34, 40, 0xff]);
            }
            _ => {}
        }
    }
}

/// A number, or one close by, or seldom any.
fn near(random: &mut Random, number: u32) -> u32 {
    match random.below(20) {
        0 => random.number(),
        1..8 => number,
        _ => number.wrapping_add(random.number() % 7).wrapping_sub(3),
    }
}
