//! Brokers whose CONNACK means "not me", and the client that another one takes without noticing.

#![cfg(test)]

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use harness::bed::{Bed, Family};
use harness::broker::{self, Broker};
use harness::client::Client;
use harness::daemon::Daemon;
use harness::echo::Echo;
use harness::need;
use harness::setup::Setup;
use harness::wire::{self, Connect, Version};

/// Every code that means "not me", with the name it is counted under.
const CODES: [(Version, u8, &str); 8] = [
    (Version::V3_1, 3, "unavailable"),
    (Version::V3_1_1, 3, "unavailable"),
    (Version::V5, 0x88, "unavailable"),
    (Version::V5, 0x89, "busy"),
    (Version::V5, 0x97, "quota_exceeded"),
    (Version::V5, 0x9c, "use_another"),
    (Version::V5, 0x9d, "moved"),
    (Version::V5, 0x9f, "rate_exceeded"),
];

const NOT_AUTHORIZED: u8 = 0x87;

/// A Reason String.
fn reason(text: &str) -> Vec<u8> {
    [vec![0x1f], wire::text(text)].concat()
}

/// A broker that refuses every client with one code, which a test may change.
struct Refusing {
    broker: Broker,
    code: Arc<AtomicU8>,
}

impl Refusing {
    fn start(code: u8, properties: Vec<u8>) -> Self {
        Self::start_at((std::net::Ipv4Addr::LOCALHOST, 0).into(), code, properties)
    }

    fn start_at(address: SocketAddr, code: u8, properties: Vec<u8>) -> Self {
        let code = Arc::new(AtomicU8::new(code));
        let now = Arc::clone(&code);
        let broker = Broker::start_at(address, move |mut stream| {
            let connect = wire::read_packet(&mut stream).expect("a CONNECT comes");
            let code = now.load(Ordering::SeqCst);
            let connack = wire::connack(wire::level(&connect), code, &properties);
            stream.write_all(&connack).expect("the daemon reads");
        });
        Self { broker, code }
    }
}

/// Every broker gets its turn, however often it refuses.
fn in_turn() -> Setup {
    Setup::new()
        .pool(r#"balance = "round_robin""#)
        .health("max_fails = 0")
}

/// The first client of each code meets `refusing` first, the second the other backend.
fn every_code_is_passed_over(refusing: &Refusing, dial: impl Fn() -> Client) -> Vec<Client> {
    let mut clients = Vec::new();
    for (version, code, name) in CODES {
        refusing.code.store(code, Ordering::SeqCst);
        for turn in ["first", "second"] {
            let mut client = dial();
            let connect = Connect::new(version, &format!("{name}-{}-{turn}", version as u8));
            client.send(&[connect.bytes(), b"pipelined".to_vec()].concat());

            assert_eq!(client.packet(), wire::connack(version as u8, 0, &[]));
            assert_eq!(client.bytes(9), b"pipelined");
            clients.push(client);
        }
    }
    clients
}

fn counts_every_code(daemon: &Daemon) {
    for (name, count) in [
        ("unavailable", 3),
        ("busy", 1),
        ("quota_exceeded", 1),
        ("use_another", 1),
        ("moved", 1),
        ("rate_exceeded", 1),
        ("silent", 0),
    ] {
        assert_eq!(daemon.passed_over("broker", name), count, "{name}");
    }
}

#[test]
fn the_next_backend_takes_the_client_on_the_copy_path() {
    let (refusing, good) = (Refusing::start(3, vec![]), Echo::start());
    let daemon = in_turn()
        .backend("broker", refusing.broker.address())
        .backend("good", good.address)
        .start();

    every_code_is_passed_over(&refusing, || Client::dial(daemon.address()));

    counts_every_code(&daemon);
    assert_eq!(refusing.broker.accepted(), CODES.len());
    assert_eq!(daemon.refused("refused_by_backends"), 0);
}

#[test]
fn the_next_backend_takes_the_client_on_the_splice_path() {
    for family in Family::BOTH {
        let mut bed = need!(Bed::new(family));
        let good = SocketAddr::new(family.broker().ip(), family.broker().port() + 1);
        bed.setup = bed
            .setup
            .pool(r#"balance = "round_robin""#)
            .health("max_fails = 0")
            .backend("good", good);
        let (refusing, echo) = bed.topology.broker.run(|| {
            (
                Refusing::start_at(family.broker(), 3, vec![]),
                Echo::start_at(good),
            )
        });
        let daemon = bed.start();

        let clients =
            every_code_is_passed_over(&refusing, || bed.dial(harness::shape::Shape::default()));

        bed.until_spliced(clients.len());
        counts_every_code(&daemon);
        assert_eq!(daemon.chosen("eligible"), clients.len() as u64);
        drop((clients, echo));
    }
}

#[test]
fn a_client_that_all_refuse_hears_the_last_of_them() {
    let first = Refusing::start(0x9c, reason("go away"));
    let second = Refusing::start(0x89, reason("busy for an hour"));
    let daemon = in_turn()
        .backend("first", first.broker.address())
        .backend("second", second.broker.address())
        .start();

    let mut client = Client::dial(daemon.address());
    client.send(&Connect::new(Version::V5, "nobody's").bytes());

    let connack = wire::connack(5, 0x89, &reason("busy for an hour"));
    assert_eq!(client.rest(), connack);
    assert_eq!(daemon.refused("refused_by_backends"), 1);
    assert_eq!(daemon.backend_sum("failed"), 2);
    assert_eq!(daemon.backend_sum("opened"), 0);
}

#[test]
fn a_broker_that_spoke_is_heard_even_if_the_next_is_dead() {
    let speaking = Refusing::start(3, vec![]);
    let daemon = in_turn()
        .backend("speaking", speaking.broker.address())
        .backend("dead", broker::refusing())
        .start();

    let mut client = Client::dial(daemon.address());
    client.send(&Connect::new(Version::V3_1_1, "late").bytes());

    assert_eq!(client.rest(), wire::connack(4, 3, &[]));
    assert_eq!(daemon.passed_over("dead", "unreachable"), 1);
    assert_eq!(daemon.refused("refused_by_backends"), 1);
    assert_eq!(daemon.refused("no_backend"), 0);
}

#[test]
fn no_more_backends_are_asked_than_configured() {
    let all: Vec<Refusing> = (0..4).map(|_| Refusing::start(0x88, vec![])).collect();
    let setup = in_turn().pool("attempts = 2");
    let named = all.iter().enumerate();
    let daemon = named
        .fold(setup, |setup, (n, one)| {
            setup.backend(&format!("broker-{n}"), one.broker.address())
        })
        .start();

    let mut client = Client::dial(daemon.address());
    client.send(&Connect::new(Version::V5, "unlucky").bytes());

    assert_eq!(client.rest(), wire::connack(5, 0x88, &[]));
    assert_eq!(daemon.backend_sum("failed"), 2);
}

#[test]
fn a_refusal_that_is_about_the_client_is_final() {
    let strict = Refusing::start(NOT_AUTHORIZED, vec![]);
    let good = Echo::start();
    let daemon = in_turn()
        .backend("strict", strict.broker.address())
        .backend("good", good.address)
        .start();

    let mut client = Client::dial(daemon.address());
    client.send(&Connect::new(Version::V5, "stranger").bytes());

    assert_eq!(client.rest(), wire::connack(5, NOT_AUTHORIZED, &[]));
    assert_eq!(daemon.backend_sum("failed"), 0);
}

#[test]
fn only_the_refusals_that_are_configured_lead_elsewhere() {
    let (refusing, good) = (Refusing::start(0x89, vec![]), Echo::start());
    let daemon = in_turn()
        .pool(r#"retry_on = ["unavailable"]"#)
        .backend("broker", refusing.broker.address())
        .backend("good", good.address)
        .start();

    let mut client = Client::dial(daemon.address());
    client.send(&Connect::new(Version::V5, "first").bytes());
    assert_eq!(client.rest(), wire::connack(5, 0x89, &[]));
    // It is the other one's turn.
    Client::open(daemon.address(), &Connect::new(Version::V5, "second"));
    refusing.code.store(0x88, Ordering::SeqCst);
    Client::open(daemon.address(), &Connect::new(Version::V5, "third"));

    assert_eq!(daemon.passed_over("broker", "busy"), 0);
    assert_eq!(daemon.passed_over("broker", "unavailable"), 1);
}

#[test]
fn nothing_is_tried_after_an_authentication_has_begun() {
    let challenge = wire::packet(
        wire::AUTH,
        [vec![0x18, 16, 0x15], wire::text("SCRAM-SHA-256")].concat(),
    );
    let question = challenge.clone();
    let careful = Broker::start(move |mut stream| {
        wire::read_packet(&mut stream).expect("a CONNECT comes");
        stream.write_all(&question).expect("the daemon reads");
        wire::read_packet(&mut stream).expect("an AUTH comes");
        stream
            .write_all(&wire::connack(5, 0x88, &[]))
            .expect("the daemon reads");
    });
    let good = Echo::start();
    let daemon = in_turn()
        .backend("careful", careful.address())
        .backend("good", good.address)
        .start();

    let mut client = Client::dial(daemon.address());
    client.send(
        &Connect::new(Version::V5, "asked")
            .with_authentication()
            .bytes(),
    );
    assert_eq!(client.packet(), challenge);
    client.send(&challenge);

    assert_eq!(client.rest(), wire::connack(5, 0x88, &[]));
    assert_eq!(daemon.backend_sum("failed"), 0);
}
