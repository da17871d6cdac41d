//! Connections in the kernel follow interfaces that are made anew, and routes that move.

#![cfg(test)]

use harness::bed::{Bed, Family, From};
use harness::client::Client;
use harness::echo::Echo;
use harness::talk::say;
use harness::{need, wait};
use nix::net::if_::if_nametoindex;

/// Clients of an echo, in the kernel.
fn spliced(bed: &Bed, count: usize) -> Vec<Client> {
    let clients = (0..count).map(|n| bed.open(&format!("c{n}"))).collect();
    bed.until_spliced(count);
    clients
}

/// Waits until all segments of clients leave by an interface of the balancer.
fn until_routed(bed: &Bed, interface: &str) {
    let index = bed
        .topology
        .balancer
        .run(|| if_nametoindex(interface).expect("it is there"));
    wait::until("flows have another interface", || {
        let flows = bed.flows(From::Client);
        flows
            .iter()
            .all(|flow| flow.number("interface") == u64::from(index))
    });
}

/// Counts what the kernel half counts for each flow.
fn packets(bed: &Bed) -> Vec<u64> {
    let flows = bed.flows(From::Client).into_iter();
    flows.map(|flow| flow.number("packets")).collect()
}

#[test]
fn connections_go_on_over_an_interface_that_was_made_anew() {
    for family in Family::BOTH {
        let bed = need!(Bed::new(family));
        let _echo = bed.topology.broker.run(|| Echo::start_at(family.broker()));
        let daemon = bed.start();
        let mut clients = spliced(&bed, 20);
        say(&mut clients, 0);
        // What the broker sends again to an interface without programs, the host answers with a reset.
        wait::until("all is acknowledged", || {
            bed.topology.broker.run(harness::sockets::stored) == 0
        });
        let before = packets(&bed);

        bed.topology.rejoin_broker();

        until_routed(&bed, "brokers");
        say(&mut clients, 1);
        let after = packets(&bed);
        let fewest = before.iter().min().expect("there are some");
        assert!(
            after.iter().all(|count| count > fewest),
            "nothing counted was forgotten: {before:?}, {after:?}"
        );
        assert_eq!(daemon.status()["splice"]["aborted"], 0);
        // New ones find the programs on the new interface.
        clients.push(bed.open("new"));
        bed.until_spliced(21);
        drop(clients);
        bed.until_forgotten();
    }
}

#[test]
fn an_interface_that_was_made_anew_while_no_daemon_ran_is_found_at_start() {
    let bed = need!(Bed::new(Family::V4));
    let _echo = bed
        .topology
        .broker
        .run(|| Echo::start_at(bed.family.broker()));
    let mut daemon = bed.start();
    let mut clients = spliced(&bed, 3);
    daemon.kill();

    bed.topology.rejoin_broker();
    let _daemon = bed.start();

    until_routed(&bed, "brokers");
    say(&mut clients, 0);
}

#[test]
fn connections_follow_a_route_that_moves() {
    let bed = need!(Bed::new(Family::V4));
    let _echo = bed
        .topology
        .broker
        .run(|| Echo::start_at(bed.family.broker()));
    let _daemon = bed.start();
    let mut clients = spliced(&bed, 5);
    say(&mut clients, 0);
    let balancer = &bed.topology.balancer;
    let broker = bed.topology.broker.path();
    balancer.ip(&[
        "link", "add", "detour", "type", "veth", "peer", "name", "detour", "netns", &broker,
    ]);
    bed.topology.broker.ip(&["link", "set", "detour", "up"]);
    balancer.ip(&["link", "set", "detour", "up"]);

    let [to, from] = [bed.family.broker().ip(), bed.family.at_brokers()].map(|ip| ip.to_string());
    balancer.ip(&["route", "add", &to, "dev", "detour", "src", &from]);
    until_routed(&bed, "detour");
    say(&mut clients, 1);

    balancer.ip(&["route", "del", &to, "dev", "detour"]);
    until_routed(&bed, "brokers");
    say(&mut clients, 2);
}
