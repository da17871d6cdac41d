//! Which broker a client lands on.

#![cfg(test)]

use std::collections::BTreeSet;
use std::net::SocketAddr;

use harness::client::Client;
use harness::daemon::Daemon;
use harness::mosquitto::{Mosquitto, NAME_TOPIC};
use harness::need;
use harness::setup::Setup;
use harness::wire::{self, Connect, Version};

/// The name of the broker that serves this id.
fn broker_of(address: SocketAddr, version: Version, id: &str) -> String {
    let mut client = Client::open(address, &Connect::new(version, id));
    client.send(&wire::subscribe(version, NAME_TOPIC));
    assert_eq!(client.packet()[0], wire::SUBACK);
    let publish = client.packet();
    String::from_utf8(publish[publish.len() - 1..].to_vec()).expect("names are letters")
}

fn brokers_of(daemon: &Daemon, ids: &[String]) -> Vec<String> {
    ids.iter()
        .map(|id| broker_of(daemon.address(), Version::V3_1_1, id))
        .collect()
}

fn three_brokers() -> Result<[Mosquitto; 3], String> {
    Ok([
        Mosquitto::start("a")?,
        Mosquitto::start("b")?,
        Mosquitto::start("c")?,
    ])
}

fn in_front_of(brokers: &[Mosquitto]) -> Setup {
    brokers.iter().fold(Setup::new(), |setup, broker| {
        setup.backend(&broker.name, broker.address)
    })
}

#[test]
fn clients_with_different_ids_land_on_every_broker() {
    let brokers = need!(three_brokers());
    let daemon = in_front_of(&brokers).start();
    let ids: Vec<String> = (0..30).map(|n| format!("device-{n}")).collect();

    let landed: BTreeSet<String> = brokers_of(&daemon, &ids).into_iter().collect();

    assert!(landed.iter().eq(["a", "b", "c"]), "{landed:?}");
}

#[test]
fn an_id_always_lands_on_the_same_broker() {
    let brokers = need!(three_brokers());
    let setup = in_front_of(&brokers);
    let mut daemon = setup.start();
    let ids: Vec<String> = (0..10).map(|n| format!("device-{n}")).collect();
    let landed = brokers_of(&daemon, &ids);

    for version in Version::ALL {
        let again = ids
            .iter()
            .map(|id| broker_of(daemon.address_v6(), version, id));
        assert!(again.eq(landed.iter().cloned()), "{version:?}");
    }
    daemon.terminate();
    let daemon = setup.start();

    assert_eq!(brokers_of(&daemon, &ids), landed);
}

#[test]
fn round_robin_takes_turns() {
    let brokers = need!(three_brokers());
    let daemon = in_front_of(&brokers)
        .pool(r#"balance = "round_robin""#)
        .start();
    let ids: Vec<String> = (0..6).map(|_| "same".to_owned()).collect();

    assert_eq!(brokers_of(&daemon, &ids), ["a", "b", "c", "a", "b", "c"]);
}

#[test]
fn a_client_that_comes_twice_takes_over_from_itself() {
    let brokers = need!(three_brokers());
    let daemon = in_front_of(&brokers).start();
    let mut first = Client::open(daemon.address(), &Connect::new(Version::V5, "twin"));

    let mut second = Client::open(daemon.address(), &Connect::new(Version::V5, "twin"));

    // Only on the same broker the second ends the first.
    assert_eq!(first.rest(), b"");
    second.send(&wire::subscribe(Version::V5, "still/here"));
    assert_eq!(second.packet()[0], wire::SUBACK);
}
