//! Messages through the balancer, between real clients by way of real brokers.

#![cfg(test)]

use std::net::{IpAddr, Ipv6Addr};

use harness::mosquitto::Mosquitto;
use harness::need;
use harness::paho::Paho;
use harness::setup::Setup;

const VERSIONS: [&str; 3] = ["3.1", "3.1.1", "5.0"];

#[test]
fn every_version_delivers_at_every_qos_and_retains() {
    let paho = need!(Paho::find());
    let broker = need!(Mosquitto::start("a"));
    let daemon = Setup::new().backend("a", broker.address).start();
    let address = daemon.address().to_string();

    for version in VERSIONS {
        paho.run("delivery.py", &[&address, version]);
    }

    assert_eq!(daemon.backend_sum("opened"), 6);
}

#[test]
fn ipv6_clients_reach_ipv6_brokers() {
    let paho = need!(Paho::find());
    let broker = need!(Mosquitto::start_at("a", IpAddr::V6(Ipv6Addr::LOCALHOST)));
    let daemon = Setup::new().backend("a", broker.address).start();

    paho.run("delivery.py", &[&daemon.address_v6().to_string(), "5.0"]);

    assert_eq!(daemon.backend_sum("opened"), 2);
}

#[test]
fn the_families_of_both_sides_may_differ() {
    let paho = need!(Paho::find());
    let broker = need!(Mosquitto::start_at("a", IpAddr::V6(Ipv6Addr::LOCALHOST)));
    let daemon = Setup::new().backend("a", broker.address).start();

    paho.run("delivery.py", &[&daemon.address().to_string(), "3.1.1"]);

    assert_eq!(daemon.backend_sum("opened"), 2);
}
