//! Backends that fail before they have answered a client, and the client that must not notice.

#![cfg(test)]

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};

use harness::broker::{self, Blackhole, Broker};
use harness::client::Client;
use harness::echo::Echo;
use harness::setup::Setup;
use harness::wire::{self, Connect, Version};

/// CONNACK codes of "server unavailable", by version.
const UNAVAILABLE: [(Version, u8); 3] = [
    (Version::V3_1, 3),
    (Version::V3_1_1, 3),
    (Version::V5, 0x88),
];

fn impatient() -> Setup {
    Setup::new()
        .pool(r#"balance = "round_robin""#)
        .pool(r#"dial_timeout = "300ms""#)
        .pool(r#"connack_timeout = "300ms""#)
}

/// Clients of every version meet `bad` first; what they pipelined reaches the next backend.
fn is_passed_over(bad: SocketAddr) {
    let good = Echo::start();
    let daemon = impatient()
        .backend("bad", bad)
        .backend("good", good.address)
        .start();

    for version in Version::ALL {
        // The first meets the bad backend first, the second the good one.
        for id in ["first", "second"] {
            let mut client = Client::dial(daemon.address());
            client.send(&[Connect::new(version, id).bytes(), b"pipelined".to_vec()].concat());

            assert_eq!(client.packet(), wire::connack(version as u8, 0, &[]));
            assert_eq!(client.bytes(9), b"pipelined");
        }
    }

    let status = daemon.status();
    assert_eq!(status["backends"][0]["failed"], 3, "{status:#}");
    assert_eq!(status["backends"][0]["opened"], 0, "{status:#}");
    assert_eq!(status["backends"][1]["opened"], 6, "{status:#}");
}

/// The same for a backend that takes connections and then does as `fail` says.
fn is_passed_over_when(fail: impl Fn(TcpStream) + Send + Sync + 'static) {
    let bad = Broker::start(fail);

    is_passed_over(bad.address());

    assert_eq!(bad.accepted(), 3);
}

#[test]
fn a_backend_that_refuses_is_passed_over() {
    is_passed_over(broker::refusing());
}

#[test]
fn a_backend_that_answers_no_syn_is_passed_over() {
    let blackhole = Blackhole::new();

    is_passed_over(blackhole.address);
}

#[test]
fn a_backend_that_closes_at_once_is_passed_over() {
    is_passed_over_when(drop);
}

#[test]
fn a_backend_that_resets_at_once_is_passed_over() {
    is_passed_over_when(broker::reset);
}

#[test]
fn a_backend_that_closes_after_connect_is_passed_over() {
    is_passed_over_when(|mut stream| {
        wire::read_packet(&mut stream).expect("a CONNECT comes");
    });
}

#[test]
fn a_backend_that_resets_after_connect_is_passed_over() {
    is_passed_over_when(|mut stream| {
        wire::read_packet(&mut stream).expect("a CONNECT comes");
        broker::reset(stream);
    });
}

#[test]
fn a_backend_that_dies_within_its_connack_is_passed_over() {
    is_passed_over_when(|mut stream| {
        wire::read_packet(&mut stream).expect("a CONNECT comes");
        stream
            .write_all(&[wire::CONNACK, 2, 0])
            .expect("the daemon reads");
    });
}

#[test]
fn a_backend_that_never_answers_is_passed_over() {
    is_passed_over_when(|mut stream| {
        wire::read_packet(&mut stream).expect("a CONNECT comes");
        wire::read_packet(&mut stream).expect_err("the daemon gives up");
    });
}

#[test]
fn a_backend_that_does_not_speak_mqtt_is_passed_over() {
    is_passed_over_when(|mut stream| {
        stream
            .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .expect("the daemon reads");
        wire::read_packet(&mut stream).expect("a CONNECT comes");
        wire::read_packet(&mut stream).expect_err("the daemon gives up");
    });
}

#[test]
fn a_client_is_told_when_every_backend_is_dead() {
    let dying = Broker::start(drop);
    let daemon = impatient()
        .backend("a", broker::refusing())
        .backend("b", dying.address())
        .start();

    for (version, code) in UNAVAILABLE {
        let mut client = Client::dial(daemon.address());
        client.send(&Connect::new(version, "nobody").bytes());

        assert_eq!(client.rest(), wire::connack(version as u8, code, &[]));
    }

    assert_eq!(daemon.refused("no_backend"), 3);
}

#[test]
fn no_more_backends_are_tried_than_configured() {
    let dying: Vec<Broker> = (0..4).map(|_| Broker::start(drop)).collect();
    let setup = dying
        .iter()
        .enumerate()
        .fold(impatient().pool("attempts = 2"), |setup, (n, broker)| {
            setup.backend(&format!("broker-{n}"), broker.address())
        });
    let daemon = setup.start();

    let mut client = Client::dial(daemon.address());
    client.send(&Connect::new(Version::V3_1_1, "unlucky").bytes());

    assert_eq!(client.rest(), wire::connack(4, 3, &[]));
    assert_eq!(daemon.backend_sum("failed"), 2);
}

#[test]
fn a_brokers_own_refusal_reaches_the_client_unchanged() {
    const NOT_AUTHORIZED: u8 = 5;
    let strict = Broker::start(|mut stream| {
        wire::read_packet(&mut stream).expect("a CONNECT comes");
        let connack = wire::connack(4, NOT_AUTHORIZED, &[]);
        stream.write_all(&connack).expect("the daemon reads");
    });
    let daemon = Setup::new().backend("strict", strict.address()).start();

    let mut client = Client::dial(daemon.address());
    client.send(&Connect::new(Version::V3_1_1, "stranger").bytes());

    assert_eq!(client.rest(), wire::connack(4, NOT_AUTHORIZED, &[]));
    assert_eq!(daemon.backend_sum("failed"), 0);
}

#[test]
fn a_broker_gets_connect_byte_for_byte_and_may_ask_for_authentication() {
    let connect = Connect::new(Version::V5, "careful")
        .with_everything()
        .with_authentication()
        .bytes();
    let challenge = wire::packet(
        wire::AUTH,
        [vec![0x18, 16, 0x15], wire::text("SCRAM-SHA-256")].concat(),
    );
    let (expected, question) = (connect.clone(), challenge.clone());
    let careful = Broker::start(move |mut stream| {
        assert_eq!(
            wire::read_packet(&mut stream).expect("a CONNECT comes"),
            expected
        );
        stream.write_all(&question).expect("the daemon reads");
        let answer = wire::read_packet(&mut stream).expect("an AUTH comes");
        assert_eq!(answer, question);
        stream
            .write_all(&wire::connack(5, 0, &[]))
            .expect("the daemon reads");
    });
    let daemon = Setup::new().backend("careful", careful.address()).start();

    let mut client = Client::dial(daemon.address());
    client.send(&connect);

    assert_eq!(client.packet(), challenge);
    client.send(&challenge);
    assert_eq!(client.rest(), wire::connack(5, 0, &[]));
}
