//! Clients that do not mean well, or do not know better.

#![cfg(test)]

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::thread;

use harness::broker::Broker;
use harness::client::Client;
use harness::daemon::Daemon;
use harness::echo::Echo;
use harness::setup::Setup;
use harness::wait;
use harness::wire::{self, Connect, Version};

/// Where the protocol level is in a short CONNECT of 3.1.1 or 5.0.
const LEVEL: usize = 8;

/// A daemon in front of a broker that must not be asked.
fn guarding(setup: Setup) -> (Daemon, Broker) {
    let broker = Broker::start(|_| {});
    (setup.backend("a", broker.address()).start(), broker)
}

/// What the daemon says to `bytes` before it closes.
fn answer(daemon: &Daemon, bytes: &[u8]) -> Vec<u8> {
    let mut client = Client::dial(daemon.address());
    client.send(bytes);
    client.rest()
}

#[test]
fn other_protocols_are_closed_at_their_first_byte() {
    let (daemon, broker) = guarding(Setup::new());

    for first in [b"G".as_slice(), b"\x16", b"\x00", b"\xff", b"\x11", b"\x30"] {
        assert_eq!(answer(&daemon, first), b"", "{first:?}");
    }
    for whole in [
        b"GET / HTTP/1.1\r\n\r\n".as_slice(),
        b"\x16\x03\x01\x02\x00\x01",
        b"SSH-2.0-x\r\n",
    ] {
        assert_eq!(answer(&daemon, whole), b"", "{whole:?}");
    }

    assert_eq!(daemon.refused("malformed"), 9);
    assert_eq!(broker.accepted(), 0);
}

#[test]
fn a_slow_connect_is_given_up() {
    let (daemon, broker) = guarding(Setup::new().limits(r#"connect_timeout = "300ms""#));
    let connect = Connect::new(Version::V5, "slow").bytes();

    assert_eq!(answer(&daemon, b""), b"");
    assert_eq!(answer(&daemon, &connect[..connect.len() - 1]), b"");

    assert_eq!(daemon.refused("too_slow"), 2);
    assert_eq!(broker.accepted(), 0);
}

#[test]
fn a_trickle_does_not_extend_the_time_for_connect() {
    let (daemon, broker) = guarding(Setup::new().limits(r#"connect_timeout = "300ms""#));
    let mut client = Client::dial(daemon.address());
    let mut sender = client.0.try_clone().expect("there is a descriptor");

    let long_id = "x".repeat(60_000);
    let trickle = thread::spawn(move || {
        let bytes = Connect::new(Version::V5, &long_id).bytes();
        for byte in bytes {
            if sender.write_all(&[byte]).is_err() {
                return;
            }
            thread::sleep(std::time::Duration::from_millis(1));
        }
        panic!("a minute of single bytes was taken");
    });

    assert_eq!(client.rest(), b"");
    drop(client);
    trickle.join().expect("it is cut off");
    assert_eq!(daemon.refused("too_slow"), 1);
    assert_eq!(broker.accepted(), 0);
}

#[test]
fn a_connect_over_the_limit_is_refused_in_the_words_of_its_version() {
    const PACKET_TOO_LARGE: u8 = 0x95;
    let (daemon, broker) = guarding(Setup::new().limits(r#"connect_packet = "128B""#));
    let long_id = "x".repeat(200);

    for (version, expected) in [
        (Version::V3_1, vec![]),
        (Version::V3_1_1, vec![]),
        (Version::V5, wire::connack(5, PACKET_TOO_LARGE, &[])),
    ] {
        assert_eq!(
            answer(&daemon, &Connect::new(version, &long_id).bytes()),
            expected,
            "{version:?}"
        );
    }

    assert_eq!(broker.accepted(), 0);
}

#[test]
fn a_refused_client_is_told_in_its_version() {
    let (daemon, broker) = guarding(Setup::new());
    let with_level = |version: Version, level: u8| {
        let mut bytes = Connect::new(version, "id").bytes();
        assert_eq!(bytes[LEVEL], version as u8);
        bytes[LEVEL] = level;
        bytes
    };
    let with_bad_will = |version: Version| {
        let mut bytes = Connect::new(version, "id").bytes();
        // A will QoS without a will.
        bytes[LEVEL + 1] = 0b0000_1010;
        bytes
    };

    let empty_id = |version| Connect::new(version, "").keep_session().bytes();
    for (name, bytes, expected) in [
        (
            "empty id, session to keep",
            empty_id(Version::V3_1_1),
            vec![0x20, 2, 0, 2],
        ),
        (
            "empty id in 3.1",
            Connect::new(Version::V3_1, "").bytes(),
            vec![0x20, 2, 0, 2],
        ),
        (
            "level of the past",
            with_level(Version::V3_1_1, 2),
            vec![0x20, 2, 0, 1],
        ),
        (
            "level of the future",
            with_level(Version::V5, 6),
            vec![0x20, 3, 0, 0x84, 0],
        ),
        ("malformed in 3.1.1", with_bad_will(Version::V3_1_1), vec![]),
        (
            "malformed in 5.0",
            with_bad_will(Version::V5),
            vec![0x20, 3, 0, 0x81, 0],
        ),
    ] {
        assert_eq!(answer(&daemon, &bytes), expected, "{name}");
    }

    assert_eq!(broker.accepted(), 0);
}

#[test]
fn a_client_that_leaves_early_is_forgotten() {
    let (daemon, broker) = guarding(Setup::new());
    let before = daemon.process.descriptors();
    let connect = Connect::new(Version::V5, "early").bytes();

    for length in 0..connect.len() {
        Client::dial(daemon.address()).send(&connect[..length]);
    }

    let count = u64::try_from(connect.len()).expect("it is small");
    wait::until("all are counted", || daemon.refused("closed") == count);
    wait::until("all are closed", || daemon.process.descriptors() == before);
    assert_eq!(broker.accepted(), 0);
}

/// Numbers that look random and are the same in every run.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).expect("it is small");
        usize::try_from(self.next() % bound).expect("it is small")
    }

    /// Pure noise, or a CONNECT with a few bytes damaged, cut short.
    fn packet(&mut self) -> Vec<u8> {
        let version = Version::ALL[self.below(3)];
        let mut bytes = Connect::new(version, "noise").with_everything().bytes();
        if self.below(2) == 0 {
            bytes
                .iter_mut()
                .skip(1)
                .for_each(|byte| *byte = self.next().to_le_bytes()[0]);
        }
        for _ in 0..=self.below(3) {
            let at = self.below(bytes.len());
            bytes[at] = self.next().to_le_bytes()[0];
        }
        bytes.truncate(self.below(bytes.len() + 1));
        bytes
    }
}

/// Connects, sends noise, and leaves without waiting for an answer half of the time.
fn attack(address: SocketAddr, seed: u64, times: usize) {
    let mut noise = Noise(seed);
    for _ in 0..times {
        let mut client = Client::dial(address);
        drop(client.0.write_all(&noise.packet()));
        if noise.below(2) == 0 {
            client.0.shutdown(std::net::Shutdown::Write).ok();
            drop(client.0.read(&mut [0; 64]));
        }
    }
}

#[test]
fn ten_thousand_hostile_clients_do_not_disturb_an_established_one() {
    const ATTACKERS: u64 = 4;
    const TIMES: usize = 2_500;
    let echo = Echo::start();
    let daemon = Setup::new().backend("echo", echo.address).start();
    let address = daemon.address();
    let before = (daemon.process.descriptors(), daemon.process.threads());
    let mut client = Client::open(address, &Connect::new(Version::V3_1_1, "steady"));

    let attackers: Vec<_> = (1..=ATTACKERS)
        .map(|seed| thread::spawn(move || attack(address, seed, TIMES)))
        .collect();
    while !attackers.iter().all(thread::JoinHandle::is_finished) {
        client.send(b"still here");
        assert_eq!(client.bytes(10), b"still here");
    }

    for attacker in attackers {
        attacker.join().expect("the daemon takes every connection");
    }
    wait::until("only the steady one is left", || {
        let held = (daemon.process.descriptors() - 2, daemon.process.threads());
        daemon.connections() == 1 && held == before
    });
    client.send(b"and after");
    assert_eq!(client.bytes(9), b"and after");
}
