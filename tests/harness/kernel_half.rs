//! The kernel half without a daemon: its pinned programs and maps.

use std::fmt;
use std::net::SocketAddr;

use aya::maps::{HashMap, Map, MapData, MapError, PerCpuArray};
use lb_common::address::mapped;
use lb_common::flow::{Flow, FlowKey, Handshake, Leaving};
use lb_common::listener::{ListenerKey, ListenerRecord};
use lb_common::maps::{EGRESS, FLOWS, HANDSHAKES, INGRESS, LEAVING, LISTENERS, REASONS};
use lb_common::reason::Reason;

use crate::bpftool::Pins;
use crate::broker::refusing;
use crate::namespace;
use crate::prog_run::Program;
use crate::setup::Setup;

/// Loaded and pinned by a daemon that is gone, in a network of its own.
pub struct KernelHalf {
    pub ingress: Program,
    pub egress: Program,
    pub flows: HashMap<MapData, FlowKey, Flow>,
    pub leaving: HashMap<MapData, FlowKey, Leaving>,
    pub listeners: HashMap<MapData, ListenerKey, ListenerRecord>,
    pub handshakes: HashMap<MapData, FlowKey, Handshake>,
    reasons: PerCpuArray<MapData, u64>,
    _setup: Setup,
}

impl fmt::Debug for KernelHalf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KernelHalf").finish_non_exhaustive()
    }
}

impl KernelHalf {
    /// With room for so many connections; this thread is then in a network of its own.
    ///
    /// # Errors
    ///
    /// A reason to skip.
    pub fn load(capacity: u32) -> Result<Self, String> {
        namespace::enter_new()?;
        let setup = Setup::new()
            .backend("nobody", refusing())
            .with_kernel(Pins::new()?)
            .kernel(&format!("clients_capacity = {capacity}"));
        setup.start().kill();
        let pins = setup.pins();
        let program = |name| Program::from_pin(&pins.path().join("progs").join(name));
        Ok(Self {
            ingress: program(INGRESS),
            egress: program(EGRESS),
            flows: open(pins, FLOWS),
            leaving: open(pins, LEAVING),
            listeners: open(pins, LISTENERS),
            handshakes: open(pins, HANDSHAKES),
            reasons: open(pins, REASONS),
            _setup: setup,
        })
    }

    /// How often something was done for this reason.
    pub fn reason(&self, reason: Reason) -> u64 {
        let each = self.reasons.get(&(reason as u32), 0);
        each.expect("every reason has a place").iter().sum()
    }
}

fn open<T: TryFrom<Map, Error = MapError>>(pins: &Pins, name: &str) -> T {
    let path = pins.map(name);
    let map = MapData::from_pin(&path).and_then(Map::from_map_data);
    let map = map.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    T::try_from(map).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The key of what goes from one to the other.
pub fn key(from: SocketAddr, to: SocketAddr) -> FlowKey {
    FlowKey {
        source: mapped(from.ip()),
        destination: mapped(to.ip()),
        source_port: from.port(),
        destination_port: to.port(),
    }
}

/// Indices of interfaces: the loopback, and one that leads to other hosts.
pub const LOOPBACK: u32 = 1;
pub const ELSEWHERE: u32 = 2;

/// A flow that leads from `key` to other addresses, with what is added to numbers and acknowledgments;
/// windows have the same unit on both legs.
pub fn flow(key: FlowKey, from: SocketAddr, to: SocketAddr, shifts: [u32; 2]) -> Flow {
    let (source, destination) = (mapped(from.ip()), mapped(to.ip()));
    Flow {
        source,
        destination,
        source_port: from.port(),
        destination_port: to.port(),
        sequence_shift: shifts[0],
        acknowledgment_shift: shifts[1],
        address_change: change(&[key.source, key.destination], &[source, destination]),
        interface: ELSEWHERE,
        window_left: 5,
        window_right: 5,
        flags: 0,
        reserved: 0,
        session: 1,
        backend: 1,
        idle_seconds: 0,
        packets: 0,
        bytes: 0,
        last_seen: 0,
        highest_sequence: 0,
        highest_acknowledgment: 0,
        state: 0,
        gap_end: 0,
        client_half: [0; 32],
    }
}

/// New words minus old ones, as a ones' complement sum of words in memory order.
fn change(old: &[[u8; 16]; 2], new: &[[u8; 16]; 2]) -> u32 {
    let sum = |addresses: &[[u8; 16]; 2]| -> u64 {
        let (words, _) = addresses.as_flattened().as_chunks::<4>();
        words
            .iter()
            .map(|word| u64::from(u32::from_ne_bytes(*word)))
            .sum()
    };
    let modulus = u64::from(u32::MAX);
    let difference = (sum(new) % modulus + modulus - sum(old) % modulus) % modulus;
    u32::try_from(difference).expect("it is a remainder")
}
