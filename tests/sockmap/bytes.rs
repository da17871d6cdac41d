//! Every byte exactly once and in order, from the first one.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::thread;

use harness::bad_wire::Habits;
use harness::bed::Family;
use harness::client::Client;
use harness::ends::pass;
use harness::need;
use harness::shape::Shape;
use harness::stream::{LONGEST, Stream, expect_end};
use harness::wire;

use crate::{Ground, chosen, connect};

const WRITES: &[usize] = &[2, 17, 300, 1460, 4096, 65_536, LONGEST];
/// Bytes sent together with the CONNECT.
const PIPELINED: usize = 3000;

/// The stream of a connection, from the client or from the broker.
fn stream(
    number: usize,
    from_broker: u64,
    bytes: usize,
    writes: &'static [usize],
) -> Stream<'static> {
    Stream {
        seed: 2 * number as u64 + from_broker,
        bytes,
        writes,
        stall: None,
    }
}

/// Both ends send and check at once, the client without waiting for its CONNACK.
fn exchange(ground: &Ground, connections: usize, bytes: usize, writes: &'static [usize]) {
    thread::scope(|scope| {
        for number in 0..connections {
            let [up, down] = [0, 1].map(|from| stream(number, from, bytes, writes));
            let mut first = connect(&format!("client-{number}")).bytes();
            first.extend(&up.pattern()[..PIPELINED]);
            let mut client = ground.bed.dial(Shape::default());
            client.send(&first);
            let broker = ground.accepted();
            scope.spawn(move || run_client(&client, up, down));
            scope.spawn(move || {
                thread::scope(|scope| {
                    scope.spawn(|| down.send(&broker, 0));
                    up.receive(&broker);
                });
                talk_and_part(&broker);
            });
        }
    });
}

/// A word in turns at the end of a stream, so that some of it is carried for certain.
const TURN: [u8; 5] = *b"again";
const TURNS: usize = 50;

fn run_client(client: &Client, up: Stream<'_>, down: Stream<'_>) {
    thread::scope(|scope| {
        scope.spawn(|| up.send(&client.0, PIPELINED));
        let connack = wire::read_packet(&mut &client.0).expect("a CONNACK comes");
        assert_eq!(connack, wire::connack(4, 0, &[]));
        down.receive(&client.0);
    });
    for _ in 0..TURNS {
        hear(&client.0);
        say(&client.0);
    }
    end(&client.0);
}

fn talk_and_part(broker: &TcpStream) {
    for _ in 0..TURNS {
        say(broker);
        hear(broker);
    }
    end(broker);
}

fn say(mut stream: &TcpStream) {
    stream.write_all(&TURN).expect("it is open");
}

fn hear(mut stream: &TcpStream) {
    let mut heard = [0; TURN.len()];
    stream.read_exact(&mut heard).expect("it comes");
    assert_eq!(heard, TURN);
}

fn end(stream: &TcpStream) {
    stream
        .shutdown(std::net::Shutdown::Write)
        .expect("it is open");
    expect_end(stream);
}

/// The kernel has moved bytes of every connection in both directions.
fn expect_moved(ground: &Ground, connections: usize) {
    ground.until_forgotten();
    assert_eq!(chosen(&ground.daemon), connections as u64);
    let moved = &ground.daemon.status()["sockmap"]["moved"];
    let least = (connections * TURNS * TURN.len() / 2) as u64;
    for from in ["from_clients", "from_brokers"] {
        let bytes = moved[from].as_u64().expect("it is a number");
        assert!(bytes >= least, "{bytes} bytes moved {from}");
    }
}

#[test]
fn every_byte_arrives_once_and_in_order() {
    for family in Family::BOTH {
        let ground = need!(Ground::new(family));

        exchange(&ground, 6, 12 << 20, WRITES);

        expect_moved(&ground, 6);
    }
}

#[test]
fn small_messages_arrive_once_and_in_order() {
    for family in Family::BOTH {
        let ground = need!(Ground::new(family));

        exchange(&ground, 4, 200_000, &[2, 17, 300]);

        expect_moved(&ground, 4);
    }
}

/// A segment that is sent again may begin with bytes that have arrived, and go on with new ones.
#[test]
fn nothing_is_lost_or_repeated_on_a_wire_that_loses_and_repeats() {
    for (family, loses) in [(Family::V4, 20), (Family::V6, 20), (Family::V4, 100)] {
        let habits = Habits {
            loses,
            repeats: 20,
            delays: 20,
        };
        let ground = need!(Ground::behind(family, habits));

        exchange(&ground, 4, 100_000, &[2, 17, 300, 1460]);

        expect_moved(&ground, 4);
        let wire = ground.wire.as_ref().expect("there is one");
        assert!(wire.has_misbehaved(habits), "{wire:?}");
    }
}

#[test]
fn half_a_thousand_connections_talk_at_once() {
    const CONNECTIONS: usize = 500;
    let ground = need!(Ground::new(Family::V4));
    let mut pairs: Vec<_> = (0..CONNECTIONS)
        .map(|n| ground.open(&format!("c{n}")))
        .collect();
    assert_eq!(ground.number("connections"), CONNECTIONS as u64);

    for round in 0..3 {
        for (n, (client, broker)) in pairs.iter().enumerate() {
            pass(&client.0, broker, format!("{round} {n} there").as_bytes());
            pass(
                broker,
                &client.0,
                format!("{round} {n} and back").as_bytes(),
            );
        }
    }

    pairs.clear();
    ground.until_forgotten();
    assert_eq!(chosen(&ground.daemon), CONNECTIONS as u64);
}
