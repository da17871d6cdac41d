//! Ends on the balancer's own host, which have no wire of their own.

use harness::bad_wire::Habits;
use harness::namespace::Place;
use harness::need;
use harness::process;

use crate::exchange::run_all;
use crate::{Case, USUAL, over};

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
