//! How losses are found on a spliced connection: as fast as on one without a balancer.

#![cfg(test)]

use std::net::SocketAddr;
use std::{fs, thread};

use harness::bad_wire::{BadWire, Habits};
use harness::bed::{Bed, Family};
use harness::broker::{self, Broker};
use harness::namespace::{Host, Place, Topology};
use harness::need;
use harness::shape::Shape;
use harness::stream::{LONGEST, Stream};
use harness::wire::{Connect, Version};

const LOSES: Habits = Habits {
    loses: 10,
    repeats: 0,
    delays: 0,
};

const STREAM: Stream<'static> = Stream {
    seed: 1,
    bytes: 6 << 20,
    writes: &[1460, 65_536, LONGEST],
    stall: None,
};

/// How the sender of a stream has found its losses, as netstat(8) counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Recoveries {
    /// Begun by duplicate acknowledgments, and by selective ones.
    reno: u64,
    sack: u64,
    /// By waiting.
    timeouts: u64,
}

impl Recoveries {
    fn of(host: &Host) -> Self {
        let text = host.run(|| fs::read_to_string("/proc/thread-self/net/netstat"));
        let text = text.expect("a thread has a network");
        let mut lines = text.lines().filter(|line| line.starts_with("TcpExt:"));
        let [names, values] = [lines.next(), lines.next()].map(|line| line.expect("two lines"));
        let value = |name: &str| {
            let mut pairs = names.split_whitespace().zip(values.split_whitespace());
            let found = pairs.find(|(found, _)| *found == name);
            let (_, value) = found.unwrap_or_else(|| panic!("{name} is not counted"));
            value.parse().expect("it is a number")
        };
        Self {
            reno: value("TCPRenoRecovery"),
            sack: value("TCPSackRecovery"),
            timeouts: value("TCPTimeouts"),
        }
    }

    /// Without SACK, by duplicate acknowledgments; seldom by waiting.
    fn expect_fast(self, who: &str) {
        assert_eq!(self.sack, 0, "{who}: {self:?}");
        assert!(self.reno > 0, "{who}: {self:?}");
        assert!(self.timeouts <= self.reno, "{who}: {self:?}");
    }
}

/// Accepts one client after the other and sends it the stream.
fn sender(host: &Host, address: SocketAddr) -> Broker {
    let listener = host.run(|| Shape::default().listen(address));
    Broker::start_on(listener, |mut stream| {
        broker::accept(&mut stream);
        STREAM.send(&stream, 0);
    })
}

/// A bed whose wire to the clients loses, with clients that know no SACK.
fn bed(family: Family) -> Result<(Bed, BadWire), String> {
    let join = |near: &_, name: &_, far: &_| BadWire::join(near, name, far, LOSES);
    let (topology, wire) = Topology::joined_by(Place::Apart, join)?;
    topology.client.sysctl("net.ipv4.tcp_sack", "0");
    Ok((Bed::on(topology, family)?, wire))
}

fn receive(bed: &Bed) {
    let client = bed.introduce(Shape::default(), &Connect::new(Version::V3_1_1, "lossy"));
    thread::scope(|scope| {
        scope.spawn(|| STREAM.receive(&client.0));
    });
}

#[test]
fn a_client_without_sack_is_served_as_if_it_were_directly_connected() {
    for family in Family::BOTH {
        let (direct, _wire) = need!(bed(family));
        let _sender = sender(&direct.topology.balancer, family.balancer());
        receive(&direct);
        Recoveries::of(&direct.topology.balancer).expect_fast("directly");

        let (bed, _wire) = need!(bed(family));
        let _sender = sender(&bed.topology.broker, family.broker());
        let daemon = bed.start();
        receive(&bed);
        assert_eq!(daemon.chosen("eligible"), 1, "{}", daemon.status());
        Recoveries::of(&bed.topology.broker).expect_fast("through the balancer");
    }
}
