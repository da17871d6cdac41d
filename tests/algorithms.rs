//! How clients are shared among backends.

#![cfg(test)]

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::thread;

use harness::bed::{Bed, Family};
use harness::bpftool::Pins;
use harness::client::Client;
use harness::daemon::Daemon;
use harness::echo::Echo;
use harness::need;
use harness::setup::Setup;
use harness::shape::Shape;
use harness::wait;
use harness::wire::{Connect, Version};

const WEIGHTS: [u64; 3] = [1, 1, 2];

/// Three brokers with these weights.
fn weighted(setup: Setup, brokers: &[Echo]) -> Setup {
    let each = brokers.iter().zip(WEIGHTS).enumerate();
    each.fold(setup, |setup, (n, (broker, weight))| {
        setup
            .backend(&format!("broker-{n}"), broker.address)
            .of_backend(&format!("weight = {weight}"))
    })
}

/// Clients with an id and an address of their own come and go.
fn come_and_go(address: SocketAddr, clients: Range<u32>) {
    for n in clients {
        let [_, a, b, c] = n.to_be_bytes();
        let shape = Shape {
            source_address: Some(Ipv4Addr::new(127, 100 + a, b, c).into()),
            ..Shape::default()
        };
        let connect = Connect::new(Version::V3_1_1, &format!("device-{n}"));
        Client::over(shape.dial(address)).introduce(&connect);
    }
}

/// No backend is off its part of all that were opened by more than 5 % of that.
fn assert_shared(daemon: &Daemon, clients: u64, what: &str) {
    let status = daemon.status();
    for (n, weight) in WEIGHTS.into_iter().enumerate() {
        let opened = status["backends"][n]["opened"].as_u64().expect("it counts");
        let due = clients * weight / WEIGHTS.iter().sum::<u64>();
        assert!(
            opened.abs_diff(due) * 20 <= due,
            "{what}: broker-{n} had {opened} of {due}"
        );
    }
}

#[test]
fn clients_that_come_and_go_are_shared_by_weight() {
    const CLIENTS: u32 = 10_000;
    const THREADS: u32 = 8;
    for algorithm in ["client_id", "round_robin", "source"] {
        let brokers = [Echo::start(), Echo::start(), Echo::start()];
        let daemon = weighted(Setup::new(), &brokers)
            .pool(&format!("balance = {algorithm:?}"))
            .start();
        let address = daemon.address();

        thread::scope(|scope| {
            for part in 0..THREADS {
                let each = CLIENTS / THREADS;
                scope.spawn(move || come_and_go(address, part * each..(part + 1) * each));
            }
        });

        assert_shared(&daemon, CLIENTS.into(), algorithm);
    }
}

#[test]
fn connections_in_the_kernel_count_for_the_fewest_connections() {
    const CLIENTS: u64 = 200;
    for family in Family::BOTH {
        let mut bed = need!(Bed::new(family));
        let at = |port| SocketAddr::new(family.broker().ip(), port);
        let echo = |port| bed.topology.broker.run(|| Echo::start_at(at(port)));
        let brokers = [echo(1001), echo(1002), echo(1003)];
        let setup = Setup::new()
            .bind(&[family.balancer()])
            .pool(r#"balance = "least_connections""#)
            .with_kernel(need!(Pins::new()))
            .kernel(r#"interfaces = ["clients", "brokers"]"#);
        bed.setup = weighted(setup, &brokers);
        let daemon = bed.start();
        let mut clients: Vec<Client> = (0..CLIENTS).map(|n| bed.open(&format!("{n}"))).collect();
        bed.until_spliced(clients.len());

        // They took turns of four, so that this leaves holes of different sizes.
        let mut n = 0;
        clients.retain(|_| {
            n += 1;
            n % 4 < 2
        });
        wait::until("those that went are counted", || {
            daemon.connections() == clients.len() as u64
        });
        let again = clients.len()..200;
        clients.extend(again.map(|n| bed.open(&format!("again-{n}"))));

        let status = daemon.status();
        for (n, weight) in WEIGHTS.into_iter().enumerate() {
            let due = CLIENTS * weight / WEIGHTS.iter().sum::<u64>();
            assert_eq!(status["backends"][n]["connections"], due, "{status:#}");
        }
    }
}
