//! Every byte exactly once and in order, whatever the wire does and whatever the ends agree on.

#![cfg(test)]

use std::process::Command;

use harness::bad_wire::{BadWire, Habits};
use harness::bed::{Bed, Family};
use harness::namespace::{Host, Place, Topology};
use harness::shape::Shape;
use harness::stream::LONGEST;

mod agreements;
mod exchange;
mod places;
mod wires;

/// What the two ends of a bed are like, and what is asked of it.
#[derive(Debug, Clone, Copy)]
struct Case {
    place: Place,
    wire: Option<Habits>,
    /// Parameters of sysctl(8) and of sockets: the client's and the broker's.
    sysctls: [&'static [(&'static str, &'static str)]; 2],
    shapes: [Shape; 2],
    /// Of the links to the client and to the broker.
    mtu: [u16; 2],
    connections: u64,
    /// In each direction of each connection.
    bytes: usize,
    writes: &'static [usize],
    /// The balancer's host drops what its connection tracking does not know as a connection's.
    firewall: bool,
    /// Nobody reads before the other side is held back.
    stalls: bool,
    /// Why they travel as they do.
    because: &'static str,
}

const NO_SHAPE: Shape = Shape {
    receive_buffer: None,
    segment: None,
    source_port: None,
    source_address: None,
};

const USUAL: Case = Case {
    place: Place::Apart,
    wire: None,
    sysctls: [&[], &[]],
    shapes: [NO_SHAPE; 2],
    mtu: [1500; 2],
    connections: 6,
    bytes: 24 << 20,
    writes: &[2, 17, 300, 1460, 4096, 65_536, LONGEST],
    firewall: false,
    stalls: false,
    because: "eligible",
};

/// A wire to the clients that does this, and few bytes, as it takes its time.
const fn over(wire: Habits, bytes: usize) -> Case {
    Case {
        wire: Some(wire),
        bytes,
        ..USUAL
    }
}

const GOOD: Habits = Habits {
    loses: 0,
    repeats: 0,
    delays: 0,
};

/// A receive buffer whose window needs no scale, or little of it.
const fn buffer(bytes: usize) -> Shape {
    Shape {
        receive_buffer: Some(bytes),
        ..NO_SHAPE
    }
}

/// What the rules of many hosts begin with, but for the exception of the loopback.
fn firewall() {
    for program in ["iptables", "ip6tables"] {
        for rule in [
            "-A INPUT -m conntrack --ctstate INVALID -j DROP",
            "-A INPUT -p tcp ! --syn -m conntrack --ctstate NEW -j DROP",
        ] {
            let mut command = Command::new(program);
            let status = command.arg("-w").args(rule.split(' ')).status();
            assert!(
                status.is_ok_and(|status| status.success()),
                "{program} {rule}"
            );
        }
    }
}

/// Joins the hosts as the case wants it.
fn lay(case: &Case, family: Family) -> Result<(Bed, Option<BadWire>), String> {
    let (topology, wire) = match case.wire {
        Some(habits) => {
            let join = |near: &_, name: &_, far: &_| BadWire::join(near, name, far, habits);
            let (topology, wire) = Topology::joined_by(case.place, join)?;
            (topology, Some(wire))
        }
        None => (Topology::at(case.place)?, None),
    };
    let [client_mtu, broker_mtu] = case.mtu.map(|mtu| mtu.to_string());
    let set = |host: &Host, interface, mtu| host.ip(&["link", "set", interface, "mtu", mtu]);
    set(&topology.client, "uplink", &client_mtu);
    set(&topology.balancer, "clients", &client_mtu);
    set(&topology.balancer, "brokers", &broker_mtu);
    if !case.place.has_broker() {
        set(&topology.broker, "uplink", &broker_mtu);
    }
    for (host, sysctls) in [&topology.client, &topology.broker]
        .into_iter()
        .zip(case.sysctls)
    {
        for (name, value) in sysctls {
            host.sysctl(name, value);
        }
    }
    if case.firewall {
        topology.balancer.run(firewall);
    }
    Ok((Bed::placed(topology, case.place, family)?, wire))
}
