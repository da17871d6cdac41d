use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;

use super::{Full, Room, Seat, Seats, Source};

const NONE: Room<'_> = Room {
    all: None,
    source: None,
    listener: None,
    addresses: &[],
    in_daemon: 100,
};

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn source(text: &str) -> Source {
    text.parse::<std::net::IpAddr>().unwrap().into()
}

fn at_most(count: u32) -> Option<NonZeroU32> {
    NonZeroU32::new(count)
}

fn take(seats: &Arc<Seats>, from: &str, room: Room<'_>) -> Result<Seat, Full> {
    seats.take(address("192.0.2.9:1883"), source(from), room)
}

#[test]
fn there_are_so_many_and_no_more() {
    let seats = Arc::new(Seats::default());
    let two = Room {
        all: at_most(2),
        ..NONE
    };

    let first = take(&seats, "192.0.2.1", two).unwrap();
    let _second = take(&seats, "192.0.2.1", two).unwrap();
    assert_eq!(take(&seats, "192.0.2.1", two).unwrap_err(), Full::All);
    drop(first);
    let third = take(&seats, "192.0.2.1", two);

    assert!(third.is_ok());
    assert_eq!((seats.all(), seats.in_daemon()), (2, 2));
}

#[test]
fn a_listener_is_known_by_its_addresses() {
    let seats = Arc::new(Seats::default());
    let addresses = [address("0.0.0.0:1883"), address("[2001:db8::1]:1883")];
    let one = Room {
        listener: at_most(1),
        addresses: &addresses,
        ..NONE
    };
    let at = |at: &str| seats.take(address(at), source("192.0.2.1"), one);

    let _elsewhere = [at("192.0.2.9:8883"), at("[2001:db8::2]:1883")].map(Result::unwrap);
    let here = at("192.0.2.9:1883").unwrap();
    assert_eq!(at("192.0.2.10:1883").unwrap_err(), Full::Listener);
    drop(here);
    let here = at("[2001:db8::1]:1883").unwrap();

    assert_eq!(seats.at_listener(&addresses), 1);
    drop(here);
    assert_eq!(seats.at_listener(&addresses), 0);
}

#[test]
fn a_source_has_seats_of_its_own() {
    let seats = Arc::new(Seats::default());
    let one = Room {
        source: at_most(1),
        ..NONE
    };

    let _first = take(&seats, "2001:db8::1", one).unwrap();
    assert_eq!(take(&seats, "2001:db8::2", one).unwrap_err(), Full::Source);

    assert!(take(&seats, "2001:db8:0:1::1", one).is_ok());
}

#[test]
fn a_flow_keeps_its_seat_but_not_its_descriptors() {
    let seats = Arc::new(Seats::default());
    let one = Room {
        source: at_most(1),
        in_daemon: 1,
        ..NONE
    };
    let first = take(&seats, "192.0.2.1", one).unwrap();
    assert_eq!(take(&seats, "192.0.2.2", one).unwrap_err(), Full::Daemon);

    first.leave_to_flow();

    assert_eq!((seats.all(), seats.in_daemon()), (1, 0));
    assert_eq!(take(&seats, "192.0.2.1", one).unwrap_err(), Full::Source);
    seats.give_back(address("192.0.2.9:1883"), source("192.0.2.1"));
    assert!(take(&seats, "192.0.2.1", one).is_ok());
    assert_eq!(seats.all(), 0);
}

#[test]
fn a_limit_for_sources_that_comes_late_counts_what_is_there() {
    let seats = Arc::new(Seats::default());
    let at = address("192.0.2.9:1883");
    let here = take(&seats, "192.0.2.1", NONE).unwrap();
    seats.adopt(at, source("192.0.2.1"));
    seats.adopt(at, source("192.0.2.1"));

    seats.follow(at_most(3));
    assert!(seats.lacks_flows());
    // One of them ends before they are counted.
    seats.give_back(at, source("192.0.2.1"));
    seats.add_flows([source("192.0.2.1")]);
    here.leave_to_flow();

    let two = Room {
        source: at_most(2),
        ..NONE
    };
    assert_eq!(take(&seats, "192.0.2.1", two).unwrap_err(), Full::Source);
    seats.give_back(at, source("192.0.2.1"));
    assert!(take(&seats, "192.0.2.1", two).is_ok());
}

#[test]
fn nothing_is_remembered_of_those_who_have_gone() {
    let seats = Arc::new(Seats::default());
    let limited = Room {
        source: at_most(9),
        ..NONE
    };
    let taken: Vec<Seat> = (0..200)
        .map(|n| {
            take(
                &seats,
                &format!("192.0.2.{n}"),
                Room {
                    in_daemon: 200,
                    ..limited
                },
            )
            .unwrap()
        })
        .collect();
    drop(taken);

    let left = seats.taken();
    assert_eq!((left.all, left.in_daemon), (0, 0));
    assert!(left.by_address.is_empty());
    assert!(left.by_source.as_ref().unwrap().is_empty());
}
