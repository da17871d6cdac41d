//! Ends on the balancer's own host, which have no wire of their own.

use std::net::TcpStream;
use std::process::Command;

use harness::bad_wire::Habits;
use harness::bed::{Family, From};
use harness::ends::{Ends, talk};
use harness::forge::{ACK, PSH, Segment};
use harness::namespace::Place;
use harness::need;
use harness::process;

use crate::exchange::run_all;
use crate::{Case, USUAL, firewall, over};

const HERE: [Place; 4] = [
    Place::Loopback,
    Place::BrokerHere,
    Place::ClientHere,
    Place::AllHere,
];

#[test]
fn every_byte_arrives_from_ends_on_this_host() {
    need!(run_all(&HERE.map(|place| Case { place, ..USUAL })));
}

#[test]
fn nothing_is_lost_for_good_between_a_broker_here_and_a_wire_that_loses() {
    let habits = Habits {
        loses: 10,
        delays: 10,
        repeats: 10,
    };
    let case = |place| Case {
        place,
        ..over(habits, 2 << 20)
    };

    need!(run_all(&[case(Place::Loopback), case(Place::BrokerHere)]));
}

#[test]
fn an_end_on_this_host_keeps_to_the_segments_of_the_other() {
    need!(run_all(&[
        Case {
            place: Place::Loopback,
            mtu: [1280, 1500],
            ..USUAL
        },
        Case {
            place: Place::ClientHere,
            mtu: [1500, 1280],
            ..USUAL
        },
    ]));
}

#[test]
fn an_end_on_this_host_waits_for_one_that_does_not_read() {
    need!(run_all(&HERE.map(|place| Case {
        place,
        stalls: true,
        ..USUAL
    })));
}

#[test]
fn a_firewall_of_this_host_knows_its_connections() {
    let case = |place| Case {
        place,
        firewall: true,
        ..USUAL
    };

    need!(process::installed("iptables"));
    need!(run_all(&[
        case(Place::Apart),
        case(Place::Loopback),
        case(Place::BrokerHere),
        case(Place::ClientHere),
        case(Place::AllHere),
    ]));
}

/// Packets that the rules of the balancer's host have dropped as no connection's.
fn dropped() -> u64 {
    let count = |program| {
        let mut command = Command::new(program);
        let rules = command.args(["-w", "-nvxL", "INPUT"]).output();
        let rules = String::from_utf8(rules.expect("it is installed").stdout);
        let rules = rules.expect("rules are text");
        let rule = rules.lines().find(|line| line.contains("INVALID"));
        let packets = rule.and_then(|line| line.split_whitespace().next()?.parse().ok());
        packets.unwrap_or_else(|| panic!("{rules}"))
    };
    ["iptables", "ip6tables"].map(count).iter().sum()
}

/// Sends a segment that lies beyond any window.
fn overtake(ends: &Ends, from: From, end: &TcpStream) {
    let flow = ends.bed.flows(from).remove(0);
    let host = match from {
        From::Client => &ends.bed.topology.client,
        From::Broker => &ends.bed.topology.broker,
    };
    let segment = Segment {
        from: end.local_addr().expect("it is connected"),
        to: end.peer_addr().expect("it is connected"),
        sequence: flow.sequence("highest_sequence").wrapping_add(100 << 20),
        flags: ACK | PSH,
        payload: 100,
    };
    host.run(|| segment.send());
}

#[test]
fn a_firewall_of_this_host_does_not_compare_numbers() {
    need!(process::installed("iptables"));
    for place in HERE {
        for family in Family::BOTH {
            let ends = need!(Ends::at(place, family));
            let host = &ends.bed.topology.balancer;
            host.run(firewall);
            let (client, broker) = ends.open();
            talk(&client, &broker);
            ends.bed.until_spliced(1);

            for (from, end) in [(From::Client, &client.0), (From::Broker, &broker)] {
                overtake(&ends, from, end);
                talk(&client, &broker);
            }

            assert_eq!(host.run(dropped), 0, "{place:?} {family:?}");
        }
    }
}
