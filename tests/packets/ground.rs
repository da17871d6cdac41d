//! The kernel half beside its model, and a connection for both to carry.

use std::net::{IpAddr, SocketAddr};

use harness::bed::Family;
use harness::frame::Frame;
use harness::kernel_half::{KernelHalf, flow, key};
use harness::prog_run::{DROP, Packet, REDIRECT, Ran, Sum};
use lb_common::address::mapped;
use lb_common::flow::{FLAG_FROM_CLIENT, Flow, FlowKey, Handshake, Leaving};
use lb_common::listener::{ListenerKey, ListenerRecord};
use lb_common::reason::Reason;

use crate::model::Model;
use crate::parts::Content;
use crate::sums;

/// What is added to numbers on their way to the broker, and to the client.
pub(crate) const UP: u32 = 0x9000_0005;
pub(crate) const DOWN: u32 = 0x4321_8767;
/// What is added to acknowledgments on their way to the broker: what the other way takes back.
pub(crate) const ACK_UP: u32 = 0_u32.wrapping_sub(DOWN);
pub(crate) const ACK_DOWN: u32 = 0_u32.wrapping_sub(UP);

/// Which program sees a packet on the loopback.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// It came in by an interface.
    In,
    /// This host sends it itself.
    Out,
}

/// Both halves of a comparison.
pub(crate) struct Ground {
    pub kernel: KernelHalf,
    pub model: Model,
    /// Every key that ever was in either.
    keys: Vec<FlowKey>,
}

impl Ground {
    pub(crate) fn new() -> Result<Self, String> {
        Ok(Self {
            kernel: KernelHalf::load(16)?,
            model: Model::default(),
            keys: Vec::new(),
        })
    }

    /// The same with a connection.
    pub(crate) fn with(ends: &Ends) -> Result<Self, String> {
        let mut ground = Self::new()?;
        ground.connect(ends);
        Ok(ground)
    }

    pub(crate) fn connect(&mut self, ends: &Ends) {
        for (key, flow) in ends.flows() {
            self.put(key, flow);
        }
    }

    pub(crate) fn put(&mut self, key: FlowKey, flow: Flow) {
        self.kernel.flows.insert(key, flow, 0).unwrap();
        self.model.flows.insert(key, flow);
        if !self.keys.contains(&key) {
            self.keys.push(key);
        }
    }

    /// Replaces what both know of a flow.
    pub(crate) fn change(&mut self, key: FlowKey, change: impl FnOnce(&mut Flow)) {
        let mut flow = self.model.flows[&key];
        change(&mut flow);
        self.put(key, flow);
    }

    pub(crate) fn leave(&mut self, key: FlowKey, leaving: Leaving) {
        self.kernel.leaving.insert(key, leaving, 0).unwrap();
        self.model.leaving.insert(key, leaving);
    }

    pub(crate) fn listen(&mut self, address: SocketAddr) {
        self.listen_for(address, true);
    }

    /// For connections that may be spliced, or for others.
    pub(crate) fn listen_for(&mut self, address: SocketAddr, may_splice: bool) {
        let record = ListenerRecord {
            may_splice: may_splice.into(),
            ..ListenerRecord::default()
        };
        let key = ListenerKey {
            address: mapped(address.ip()),
            port: address.port().into(),
        };
        self.kernel.listeners.insert(key, record, 0).unwrap();
        if may_splice {
            self.model.listeners.push(key);
        }
    }

    /// The daemon says of a connection to a broker what its SYN may offer.
    pub(crate) fn announce(&mut self, key: FlowKey, offer: u32) {
        let handshake = Handshake {
            since: 0,
            mss: 0,
            offer,
        };
        self.kernel.handshakes.insert(key, handshake, 0).unwrap();
        self.model.offers.insert(key, offer);
    }

    /// Whether a SYN has been remembered.
    pub(crate) fn has_seen_any(&self) -> bool {
        let mut all = self.kernel.handshakes.iter().filter_map(Result::ok);
        all.any(|(_, handshake)| handshake.since != 0)
    }

    pub(crate) fn syns(&self, address: SocketAddr) -> u64 {
        let key = ListenerKey {
            address: mapped(address.ip()),
            port: address.port().into(),
        };
        self.kernel.listeners.get(&key, 0).unwrap().syns
    }

    /// What the kernel half knows of a flow, but for the time.
    pub(crate) fn flow(&self, key: &FlowKey) -> Option<Flow> {
        let flow = self.kernel.flows.get(key, 0).ok();
        flow.map(|flow| Flow {
            last_seen: 0,
            ..flow
        })
    }

    pub(crate) fn arrives(&mut self, bytes: &[u8]) -> Ran {
        self.run(Way::In, bytes, Sum::Complete)
    }

    pub(crate) fn leaves(&mut self, bytes: &[u8]) -> Ran {
        self.run(Way::Out, bytes, Sum::Unknown)
    }

    /// Runs the kernel half and the model, and compares.
    pub(crate) fn run(&mut self, way: Way, bytes: &[u8], sum: Sum) -> Ran {
        let mut wanted = bytes.to_vec();
        let (program, came_by, verdict) = match way {
            Way::In => (&self.kernel.ingress, 1, self.model.arrives(&mut wanted)),
            Way::Out => (&self.kernel.egress, 0, self.model.leaves(&mut wanted)),
        };
        let ran = program.run(&Packet {
            bytes,
            came_by,
            on: 0,
            beside: [0; 5],
            sum,
        });
        let ran = ran.unwrap_or_else(|error| panic!("{way:?} {}: {error}", hex(bytes)));

        assert_eq!(ran.verdict, verdict, "{way:?} {}", hex(bytes));
        let is_right = verdict == DROP || sums::are_equal(&ran.bytes, &wanted, &checksums(bytes));
        assert!(
            is_right,
            "{way:?}\n{} became\n{}, not\n{}",
            hex(bytes),
            hex(&ran.bytes),
            hex(&wanted)
        );
        for key in &self.keys {
            let wanted = self.model.flows.get(key).map(|flow| Flow {
                last_seen: 0,
                ..*flow
            });
            assert_eq!(
                self.flow(key),
                wanted,
                "{key:?} after {way:?} {}",
                hex(bytes)
            );
        }
        ran
    }

    /// The packet is carried, and leaves with just these bytes.
    pub(crate) fn carries(&mut self, arrives: &[u8], leaves: &[u8], name: &str) {
        let ran = self.arrives(arrives);
        assert_eq!(ran.verdict, REDIRECT, "{name}");
        assert_eq!(hex(&ran.bytes), hex(leaves), "{name}");
    }

    /// Both have counted the same.
    pub(crate) fn compare_reasons(&self) {
        for reason in Reason::ALL {
            let model = self.model.reasons[reason as usize];
            assert_eq!(self.kernel.reason(reason), model, "{}", reason.label());
        }
    }
}

/// Where the checksums are that a rewrite may change.
fn checksums(bytes: &[u8]) -> Vec<usize> {
    match Content::of(bytes) {
        Content::Tcp(parts) => vec![24, parts.tcp + 16],
        Content::Icmp => vec![24, 36, 52, 56],
        Content::NotPlain(_) | Content::Other => Vec::new(),
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Who talks to whom: client and listener on one leg, this host and the broker on the other.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ends {
    pub client: SocketAddr,
    pub listener: SocketAddr,
    pub ours: SocketAddr,
    pub broker: SocketAddr,
}

impl Ends {
    pub(crate) fn of(family: Family) -> Self {
        let [client, listener, ours, broker] = match family {
            Family::V4 => ["198.51.100.7", "203.0.113.255", "10.2.0.1", "10.2.255.2"],
            Family::V6 => ["2001:db8::7", "2001:db8:1::ff", "fd02::1", "fd02:0:ffff::2"],
        };
        let at = |ip: &str, port| SocketAddr::new(ip.parse::<IpAddr>().unwrap(), port);
        Self {
            client: at(client, 50_123),
            listener: at(listener, 1883),
            ours: at(ours, 40_001),
            broker: at(broker, 1884),
        }
    }

    /// The key of what the client sends.
    pub(crate) fn up(&self) -> FlowKey {
        key(self.client, self.listener)
    }

    /// The key of what the broker sends.
    pub(crate) fn down(&self) -> FlowKey {
        key(self.broker, self.ours)
    }

    /// Window scales are the same on both legs.
    pub(crate) fn flows(&self) -> [(FlowKey, Flow); 2] {
        let mut up = flow(self.up(), self.ours, self.broker, [UP, ACK_UP]);
        up.flags = FLAG_FROM_CLIENT;
        let down = flow(self.down(), self.listener, self.client, [DOWN, ACK_DOWN]);
        [(self.up(), up), (self.down(), down)]
    }

    /// From the client, with a number and an acknowledgment.
    pub(crate) fn client_sends(&self, sequence: u32, acknowledgment: u32) -> Frame {
        numbered(
            Frame::new(self.client, self.listener),
            sequence,
            acknowledgment,
        )
    }

    /// The same as it leaves for the broker.
    pub(crate) fn broker_gets(&self, sequence: u32, acknowledgment: u32) -> Frame {
        let frame = Frame::new(self.ours, self.broker);
        let (sequence, acknowledgment) =
            (sequence.wrapping_add(UP), acknowledgment.wrapping_sub(DOWN));
        Frame {
            hops: frame.hops - 1,
            ..numbered(frame, sequence, acknowledgment)
        }
    }

    /// From the broker.
    pub(crate) fn broker_sends(&self, sequence: u32, acknowledgment: u32) -> Frame {
        numbered(Frame::new(self.broker, self.ours), sequence, acknowledgment)
    }

    /// The same as it leaves for the client.
    pub(crate) fn client_gets(&self, sequence: u32, acknowledgment: u32) -> Frame {
        let frame = Frame::new(self.listener, self.client);
        let (sequence, acknowledgment) =
            (sequence.wrapping_add(DOWN), acknowledgment.wrapping_sub(UP));
        Frame {
            hops: frame.hops - 1,
            ..numbered(frame, sequence, acknowledgment)
        }
    }
}

fn numbered(frame: Frame, sequence: u32, acknowledgment: u32) -> Frame {
    Frame {
        sequence,
        acknowledgment,
        ..frame
    }
}
