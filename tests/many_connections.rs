//! Five thousand connections at once, and nothing left of them afterwards, whoever ends them.

#![cfg(test)]

use std::sync::{Mutex, PoisonError};

use harness::bpftool::Pins;
use harness::client::Client;
use harness::daemon::Daemon;
use harness::echo::Echo;
use harness::setup::Setup;
use harness::wire::{Connect, Version};
use harness::{namespace, need, wait};

const CONNECTIONS: usize = 5_000;

/// This process has both ends of the connections, and descriptors for one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// What a daemon holds.
#[derive(Debug, PartialEq, Eq)]
struct Held {
    descriptors: usize,
    threads: usize,
    clients: usize,
    connections: u64,
}

impl Held {
    fn by(daemon: &Daemon, setup: &Setup) -> Self {
        Self {
            descriptors: daemon.process.descriptors(),
            threads: daemon.process.threads(),
            clients: setup.pins().dump("CLIENTS").len(),
            connections: listed_connections(setup),
        }
    }
}

fn listed_connections(setup: &Setup) -> u64 {
    let echo = setup.pins().backend("echo").value;
    echo["connections"].as_u64().expect("it is a number")
}

fn open_all(daemon: &Daemon) -> Vec<Client> {
    let open = |n| {
        let version = Version::ALL[n % Version::ALL.len()];
        Client::open(
            daemon.address(),
            &Connect::new(version, &format!("device-{n}")),
        )
    };
    (0..CONNECTIONS).map(open).collect()
}

/// Every connection carries something of its own there and back.
fn echo_all(clients: &mut [Client]) {
    let word = |n: usize| format!("echo {n:05}").into_bytes();
    for (n, client) in clients.iter_mut().enumerate() {
        client.send(&word(n));
    }
    for (n, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.bytes(10), word(n));
    }
}

/// Opens all, lets each echo, and ends them with `end`, which may take the broker or the daemon.
fn leaves_nothing(pins: Pins, end: impl FnOnce(Vec<Client>, Echo)) {
    let echo = Echo::start();
    let setup = Setup::new()
        .backend("echo", echo.address)
        .with_kernel(pins)
        .listener(r#"datapath = "copy""#);
    let daemon = setup.start();
    let before = Held::by(&daemon, &setup);

    let mut clients = open_all(&daemon);
    echo_all(&mut clients);
    // They are written down about once a second.
    let all = u64::try_from(CONNECTIONS).expect("it is small");
    wait::until("all are counted", || listed_connections(&setup) == all);
    let with_all = Held::by(&daemon, &setup);
    end(clients, echo);

    wait::until("no session is left", || daemon.connections() == 0);
    assert_eq!(
        with_all,
        Held {
            descriptors: before.descriptors + 2 * CONNECTIONS,
            threads: before.threads,
            clients: CONNECTIONS,
            connections: all,
        }
    );
    wait::until("the daemon holds what it held before", || {
        Held::by(&daemon, &setup) == before
    });
}

#[test]
fn nothing_is_left_when_clients_close() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    need!(namespace::enter_new());
    let pins = need!(Pins::new());

    leaves_nothing(pins, |clients, echo| {
        drop(clients);
        // Outlives its clients, so that it was they who closed.
        drop(echo);
    });
}

#[test]
fn nothing_is_left_when_the_broker_closes() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    need!(namespace::enter_new());
    let pins = need!(Pins::new());

    leaves_nothing(pins, |mut clients, echo| {
        drop(echo);
        for client in &mut clients {
            assert_eq!(client.rest(), b"");
        }
    });
}

#[test]
fn nothing_is_left_when_the_daemon_is_terminated() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    need!(namespace::enter_new());
    let pins = need!(Pins::new());
    let echo = Echo::start();
    let setup = Setup::new()
        .backend("echo", echo.address)
        .with_kernel(pins)
        .listener(r#"datapath = "copy""#);
    let mut daemon = setup.start();
    let mut clients = open_all(&daemon);
    echo_all(&mut clients);

    let status = daemon.terminate();

    assert!(status.success(), "{status}: {}", daemon.log());
    for client in &mut clients {
        assert_eq!(client.rest(), b"");
    }
    assert_eq!(setup.pins().dump("CLIENTS"), []);
    assert_eq!(listed_connections(&setup), 0);
}
