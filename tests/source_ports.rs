//! Source ports toward a broker: as many connections in the kernel as there are, from each address.

#![cfg(test)]

use harness::bed::{Bed, Family, From};
use harness::client::Client;
use harness::daemon::Daemon;
use harness::echo::Echo;
use harness::need;
use harness::talk::say;
use harness::wait;
use serde_json::json;

/// Ports that are ours.
const PORTS: usize = 20;
const CLIENTS: usize = 50;

/// A bed whose balancer leaves us a few reserved ports, and has a second address toward the broker.
fn bed(family: Family) -> Result<(Bed, Echo), String> {
    let bed = Bed::new(family)?;
    let host = &bed.topology.balancer;
    host.sysctl("net.ipv4.ip_local_port_range", "1024 65535");
    host.sysctl("net.ipv4.ip_local_reserved_ports", "80,20000-20019");
    host.add("brokers", &[second(family)]);
    let echo = bed.topology.broker.run(|| Echo::start_at(family.broker()));
    Ok((bed, echo))
}

fn second(family: Family) -> std::net::IpAddr {
    let text = if family == Family::V4 {
        "10.2.0.77"
    } else {
        "fd02::77"
    };
    text.parse().expect("it is an address")
}

fn open(bed: &Bed, count: usize, name: &str) -> Vec<Client> {
    let open = |n| bed.open(&format!("{name}-{n}"));
    (0..count).map(open).collect()
}

fn has_spliced(bed: &Bed, daemon: &Daemon, count: usize) {
    wait::until("as many as there are ports have left", || {
        bed.setup.pins().dump("LEAVING").is_empty() && bed.flows(From::Client).len() == count
    });
    let ports = &daemon.backend("broker")["ports"];
    assert_eq!(
        ports["free"],
        ports["all"].as_u64().expect("it is a number") - count as u64
    );
}

/// Opens more than there is room for, twice.
fn fills(bed: &Bed, room: usize) {
    let daemon = bed.start();
    assert_eq!(
        daemon.backend("broker")["ports"],
        json!({"free": room, "all": room})
    );

    let mut clients = open(bed, CLIENTS, "first");
    has_spliced(bed, &daemon, room);
    assert_eq!(daemon.chosen("eligible"), room as u64);
    assert_eq!(daemon.chosen("no_source_port"), (CLIENTS - room) as u64);
    say(&mut clients, 1);
    drop(clients);
    bed.until_forgotten();
    has_spliced(bed, &daemon, 0);

    let mut clients = open(bed, room, "second");
    has_spliced(bed, &daemon, room);
    say(&mut clients, 2);
    drop(clients);
    bed.until_forgotten();
}

#[test]
fn what_has_no_port_is_copied_and_ports_are_used_again() {
    for family in Family::BOTH {
        let (bed, _echo) = need!(bed(family));
        fills(&bed, PORTS);
    }
}

#[test]
fn two_addresses_have_twice_as_many() {
    for family in Family::BOTH {
        let (mut bed, _echo) = need!(bed(family));
        let addresses = format!(
            "{:?}",
            [family.at_brokers().to_string(), second(family).to_string()]
        );
        bed.setup = bed
            .setup
            .of_backend(&format!("source_addresses = {addresses}"));
        fills(&bed, 2 * PORTS);
    }
}

#[test]
fn says_that_no_port_is_left_and_what_to_do() {
    let (bed, _echo) = need!(bed(Family::V4));
    bed.topology
        .balancer
        .sysctl("net.ipv4.ip_local_reserved_ports", "80");
    let daemon = bed.start();

    let downgrades = daemon.status()["downgrades"].to_string();
    assert!(
        downgrades.contains("ip_local_reserved_ports"),
        "{downgrades}"
    );
    drop(bed.open("copied"));
    assert_eq!(daemon.chosen("no_source_port"), 1);
}

#[test]
fn an_address_of_another_host_is_refused_by_name() {
    let (mut bed, _echo) = need!(bed(Family::V4));
    bed.setup = bed.setup.of_backend(r#"source_addresses = ["10.2.0.78"]"#);

    let said = bed.topology.balancer.run(|| bed.setup.refused());

    assert!(
        said.contains("`broker`") && said.contains("`10.2.0.78`"),
        "{said}"
    );
}
