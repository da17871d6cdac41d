//! Clients that fall silent, on each path.

#![cfg(test)]

use std::io::Write as _;
use std::net::TcpStream;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use harness::bed::{Family, From};
use harness::broker::{self, Broker};
use harness::client::Client;
use harness::ends::{Ends, expect_reset};
use harness::need;
use harness::setup::Setup;
use harness::shape::Shape;
use harness::wait::{self, PATIENCE};
use harness::wire::{Connect, Version};

/// Server Keep Alive of one second.
const ONE_SECOND: [u8; 3] = [0x13, 0, 1];

/// A daemon that copies, a client of it, and the broker's end of its connection.
fn copied(setup: Setup, connect: &Connect, properties: &'static [u8]) -> Copied {
    let (accept, accepted) = channel();
    let broker = Broker::start(move |mut stream| {
        broker::accept_with(&mut stream, properties);
        accept.send(stream).unwrap_or_default();
    });
    let daemon = setup.backend("broker", broker.address()).start();
    let client = Client::open(daemon.address(), connect);
    let stream = accepted.recv_timeout(PATIENCE).expect("it is asked");
    Copied {
        daemon,
        client,
        stream,
        _broker: broker,
    }
}

struct Copied {
    daemon: harness::daemon::Daemon,
    client: Client,
    stream: TcpStream,
    _broker: Broker,
}

/// A silent client is taken for lost, and both ends learn of it.
fn is_given_up(setup: Setup, connect: &Connect, properties: &'static [u8]) {
    let Copied {
        daemon,
        client,
        stream,
        ..
    } = copied(setup, connect, properties);

    expect_reset(&client.0);
    expect_reset(&stream);
    wait::until("it is counted", || daemon.status()["bytes"]["idle"] == 1);
    wait::until("its session has ended", || daemon.connections() == 0);
}

#[test]
fn a_silent_client_is_given_up_after_its_keep_alive() {
    let connect = Connect::new(Version::V3_1_1, "quiet").keep_alive(1);

    is_given_up(Setup::new().limits(r#"idle_margin = "1s""#), &connect, &[]);
}

#[test]
fn the_keep_alive_of_the_broker_counts() {
    let connect = Connect::new(Version::V5, "quiet").keep_alive(60_000);

    is_given_up(
        Setup::new().limits(r#"idle_margin = "1s""#),
        &connect,
        &ONE_SECOND,
    );
}

#[test]
fn a_silent_client_without_keep_alive_is_given_up_after_the_configured_time() {
    let connect = Connect::new(Version::V3_1, "quiet").keep_alive(0);
    let setup = Setup::new().limits(r#"idle_without_keep_alive = "1s""#);

    is_given_up(setup, &connect, &[]);
}

#[test]
fn a_client_that_only_listens_is_not_silent() {
    let connect = Connect::new(Version::V3_1_1, "listener").keep_alive(0);
    let setup = Setup::new().limits(r#"idle_without_keep_alive = "2s""#);
    let Copied {
        daemon,
        client,
        mut stream,
        ..
    } = copied(setup, &connect, &[]);

    let mut reader = client.0.try_clone().expect("there is a descriptor");
    let listen = thread::spawn(move || std::io::copy(&mut reader, &mut std::io::sink()));
    for _ in 0..40 {
        stream.write_all(b"news").expect("the daemon reads");
        thread::sleep(Duration::from_millis(100));
    }

    assert_eq!(daemon.connections(), 1);
    drop(stream);
    let heard = listen.join().expect("it listens");
    assert_eq!(heard.expect("no reset comes"), 160);
}

#[test]
fn the_kernel_is_told_the_same_limits() {
    for (lines, keep_alive, seconds) in [
        (&[][..], 60, 95),
        (&[], 0, 24 * 60 * 60),
        (&[r#"idle_margin = "0s""#], 1, 1),
        (&[r#"idle_margin = "1h""#], 65_535, 65_535 + 32_767 + 3_600),
        (&[r#"idle_without_keep_alive = "90s""#], 0, 90),
        (&[r#"idle_without_keep_alive = "0s""#], 0, 0),
    ] {
        let ends = need!(Ends::with(Family::V4, |setup| {
            lines.iter().fold(setup, |setup, line| setup.limits(line))
        }));
        let connect = Connect::new(Version::V3_1_1, "only").keep_alive(keep_alive);

        let connection = ends.introduce(Shape::default(), &connect);

        let flow = ends.bed.flows(From::Client).remove(0);
        assert_eq!(flow.number("idle_seconds"), seconds);
        drop(connection);
    }
}
