//! How many clients are let in, on each path, and what the others hear.

#![cfg(test)]

use std::net::{Ipv4Addr, SocketAddr};
use std::thread;

use harness::bed::{Bed, Family};
use harness::client::Client;
use harness::daemon::Daemon;
use harness::echo::Echo;
use harness::need;
use harness::setup::Setup;
use harness::shape::Shape;
use harness::wait;
use harness::wire::{self, Connect, Version};

const QUOTA_EXCEEDED: u8 = 0x97;

/// "No room", by version.
const FULL: [(Version, u8); 3] = [
    (Version::V3_1, 3),
    (Version::V3_1_1, 3),
    (Version::V5, QUOTA_EXCEEDED),
];

/// The ways to let in two clients, and what refuses the third.
const TWO: [(&str, Table); 4] = [
    ("max_connections", Table::Limits),
    ("listener_full", Table::Listener),
    ("source_full", Table::Source),
    ("backends_full", Table::Backend),
];

#[derive(Clone, Copy)]
enum Table {
    Backend,
    Limits,
    Listener,
    Source,
}

fn with_two(setup: Setup, table: Table) -> Setup {
    match table {
        Table::Backend => setup.of_backend("max_connections = 2"),
        Table::Limits => setup.limits("max_connections = 2"),
        Table::Listener => setup.listener("max_connections = 2"),
        Table::Source => setup.limits("max_connections_per_source = 2"),
    }
}

/// What a client hears that is refused.
fn answer(mut client: Client, version: Version) -> Vec<u8> {
    client.send(&Connect::new(version, "one too many").bytes());
    client.rest()
}

/// There are two clients and no more, until one of them goes.
fn there_are_two(
    daemon: &Daemon,
    reason: &str,
    dial: impl Fn() -> Client,
    until_settled: impl Fn(usize),
) -> Client {
    let open = |id: &str| {
        let mut client = dial();
        client.introduce(&Connect::new(Version::V5, id));
        client
    };
    let first = open("first");
    let second = open("second");
    until_settled(2);

    for (version, code) in FULL {
        let refused = wire::connack(version as u8, code, &[]);
        assert_eq!(answer(dial(), version), refused, "{reason}");
    }
    assert_eq!(daemon.refused(reason), 3);

    drop(first);
    wait::until("its seat is free", || daemon.connections() == 1);
    drop(open("third"));
    second
}

#[test]
fn no_more_clients_are_copied_than_there_may_be() {
    for (reason, table) in TWO {
        let echo = Echo::start();
        let daemon = with_two(Setup::new().backend("echo", echo.address), table).start();

        let mut client = there_are_two(&daemon, reason, || Client::dial(daemon.address()), |_| {});

        client.send(b"still here");
        assert_eq!(client.bytes(10), b"still here");
        drop(client);
        wait::until("all seats are free", || {
            daemon.status()["admission"]["clients"] == 0
        });
    }
}

#[test]
fn no_more_clients_are_in_the_kernel_than_there_may_be() {
    // Each table with one family is enough: they differ in who counts, not in what.
    for ((reason, table), family) in TWO.into_iter().zip(Family::BOTH.into_iter().cycle()) {
        let mut bed = need!(Bed::new(family));
        bed.setup = with_two(bed.setup, table);
        let _echo = bed.topology.broker.run(|| Echo::start_at(family.broker()));
        let mut daemon = bed.start();
        let dial = || bed.dial(Shape::default());
        let until_settled = |count| bed.until_spliced(count);

        let client = there_are_two(&daemon, reason, dial, until_settled);
        wait::until("the others are forgotten", || daemon.connections() == 1);

        // The next daemon counts those that it finds.
        daemon.kill();
        let daemon = bed.start();
        assert_eq!(daemon.status()["admission"]["clients"], 1);
        let beside = there_is_one_more(reason, dial);
        drop((client, beside));
        bed.until_forgotten();
        wait::until("all seats are free", || {
            daemon.status()["admission"]["clients"] == 0
        });
    }
}

/// There is one client already.
fn there_is_one_more(reason: &str, dial: impl Fn() -> Client) -> Client {
    let mut client = dial();
    client.introduce(&Connect::new(Version::V3_1_1, "beside"));
    let refused = wire::connack(5, QUOTA_EXCEEDED, &[]);
    assert_eq!(answer(dial(), Version::V5), refused, "{reason}");
    client
}

#[test]
fn a_source_does_not_take_the_seats_of_another() {
    let echo = Echo::start();
    let daemon = Setup::new()
        .backend("echo", echo.address)
        .limits("max_connections_per_source = 1")
        .start();
    let open = |from: Ipv4Addr| {
        let mut client = Client::over(dial_from(from, daemon.address()));
        client.send(&Connect::new(Version::V3_1_1, &from.to_string()).bytes());
        client
    };

    let mut clients: Vec<Client> = (1..=5).map(|n| open(Ipv4Addr::new(127, 0, 0, n))).collect();

    for client in &mut clients {
        assert_eq!(client.packet(), wire::connack(4, 0, &[]));
    }
    assert_eq!(
        open(Ipv4Addr::new(127, 0, 0, 3)).rest(),
        wire::connack(4, 3, &[])
    );
}

fn dial_from(from: Ipv4Addr, to: SocketAddr) -> std::net::TcpStream {
    let shape = Shape {
        source_address: Some(from.into()),
        ..Shape::default()
    };
    shape.dial(to)
}

#[test]
fn a_full_backend_is_passed_over_for_the_next() {
    let [small, large] = [Echo::start(), Echo::start()];
    let daemon = Setup::new()
        .pool(r#"balance = "round_robin""#)
        .backend("small", small.address)
        .of_backend("max_connections = 3")
        .backend("large", large.address)
        .of_backend("max_connections = 20")
        .start();

    // All at once, so that the limit has to hold before they are counted as sessions.
    let dial = |n: usize| {
        let mut client = Client::dial(daemon.address());
        client.send(&Connect::new(Version::V3_1_1, &format!("device-{n}")).bytes());
        client
    };
    let clients: Vec<Client> = thread::scope(|scope| {
        let threads: Vec<_> = (0..60).map(|n| scope.spawn(move || dial(n))).collect();
        threads
            .into_iter()
            .map(|one| one.join().expect("it dials"))
            .collect()
    });
    let (mut served, mut refused) = (Vec::new(), 0);
    for mut client in clients {
        match client.packet()[3] {
            0 => served.push(client),
            code => {
                assert_eq!(code, 3);
                refused += 1;
            }
        }
    }

    let status = daemon.status();
    // Of two that come at once for the last place both may be turned away, so the large one may have
    // less than its most, but never more.
    let [few, many] = [0, 1].map(|n| status["backends"][n]["connections"].as_u64());
    assert_eq!(few, Some(3), "{status:#}");
    assert!(many <= Some(20) && many >= Some(15), "{status:#}");
    assert_eq!(served.len() + refused, 60);
    assert_eq!(daemon.refused("backends_full"), refused as u64);
    assert_eq!(daemon.backend_sum("failed"), 0);
}

#[test]
fn silent_connections_crowd_out_their_own() {
    let echo = Echo::start();
    let daemon = Setup::new()
        .backend("echo", echo.address)
        .limits("pending_connects_per_source = 3")
        .start();
    let dial = |already: u64| {
        let client = Client::dial(daemon.address());
        wait::until("it is accepted", || {
            daemon.status()["listeners"][0]["accepted"] == already + 1
        });
        client
    };
    let mut silent: Vec<Client> = (0..4).map(dial).collect();

    assert_eq!(silent.remove(0).rest(), b"");
    wait::until("it is counted", || daemon.refused("crowded_out") == 1);
    let mut client = Client::open(daemon.address(), &Connect::new(Version::V5, "quick"));
    client.send(b"hello");
    assert_eq!(client.bytes(5), b"hello");
    // One more had to make room for that one; the others may still say who they are.
    wait::until("one more is counted", || daemon.refused("crowded_out") == 2);
    silent[2].introduce(&Connect::new(Version::V3_1, "slow"));
}

#[test]
fn a_version_that_is_not_served_is_told_so() {
    let echo = Echo::start();
    let only = |versions: &str| {
        let setup = Setup::new().backend("echo", echo.address);
        setup.listener(&format!("versions = {versions}")).start()
    };
    let hears = |daemon: &Daemon, version| {
        let mut client = Client::dial(daemon.address());
        client.send(&Connect::new(version, "modern").bytes());
        client.packet()
    };

    let old = only(r#"["3.1", "3.1.1"]"#);
    assert_eq!(hears(&old, Version::V3_1), [0x20, 2, 0, 0]);
    assert_eq!(hears(&old, Version::V5), [0x20, 3, 0, 0x84, 0]);
    let new = only(r#"["5.0"]"#);
    assert_eq!(hears(&new, Version::V3_1), [0x20, 2, 0, 1]);
    assert_eq!(hears(&new, Version::V3_1_1), [0x20, 2, 0, 1]);
    assert_eq!(hears(&new, Version::V5), [0x20, 3, 0, 0, 0]);

    assert_eq!(old.refused("version_not_served"), 1);
    assert_eq!(new.refused("version_not_served"), 2);
}

#[test]
fn a_daemon_that_is_short_of_descriptors_refuses_and_goes_on() {
    const OPEN_FILES: u32 = 300;
    let echo = Echo::start();
    let daemon = Setup::new()
        .backend("echo", echo.address)
        .open_files(OPEN_FILES)
        .start();
    let before = daemon.process.descriptors();
    let limit = daemon.status()["admission"]["in_daemon_limit"].as_u64();
    let limit = usize::try_from(limit.expect("it is a number")).expect("it is small");
    assert!(limit > 50 && 2 * limit < 300, "{limit}");

    let (mut served, mut refused) = (Vec::new(), Vec::new());
    for n in 0..limit + 60 {
        let mut client = Client::dial(daemon.address());
        client.send(&Connect::new(Version::V5, &format!("device-{n}")).bytes());
        match client.packet()[3] {
            0 => served.push(client),
            code => {
                assert_eq!(code, QUOTA_EXCEEDED);
                // It does not close, and has to be given up.
                refused.push(client);
            }
        }
    }

    assert_eq!(served.len(), limit);
    assert_eq!(daemon.refused("no_descriptors"), 60);
    for client in &mut served {
        client.send(b"still here");
        assert_eq!(client.bytes(10), b"still here");
    }
    assert!(!daemon.log().contains("cannot accept"), "{}", daemon.log());
    drop(served);
    wait::until("all are closed", || daemon.process.descriptors() == before);
    Client::open(daemon.address(), &Connect::new(Version::V5, "welcome"));
}
