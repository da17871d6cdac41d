//! The kernel half attached by filters of clsact qdiscs, as on a kernel without tcx.

#![cfg(test)]

use std::process::Command;

use harness::bed::{Bed, Family};
use harness::echo::Echo;
use harness::mosquitto::Mosquitto;
use harness::need;
use harness::paho::Paho;
use harness::setup::Setup;
use harness::talk::{Talk, say};

const HOOKS: [&str; 2] = ["ingress", "egress"];

/// A bed that attaches in this way.
fn bed(family: Family) -> Result<Bed, String> {
    let mut bed = Bed::new(family)?;
    bed.setup = bed.setup.kernel(r#"attach = "clsact""#);
    Ok(bed)
}

/// What tc(8) tells of the filters of one hook of the balancer.
fn filters(bed: &Bed, interface: &str, hook: &str) -> Vec<String> {
    let output = bed.topology.balancer.run(|| {
        let mut tc = Command::new("tc");
        tc.args(["filter", "show", "dev", interface, hook]);
        tc.output().expect("tc comes with ip")
    });
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines = text.lines().filter(|line| line.contains("sluice_"));
    lines.map(str::to_owned).collect()
}

/// The only filter of each hook of each interface.
fn attached(bed: &Bed) -> Vec<String> {
    let mut all = Vec::new();
    for interface in ["clients", "brokers"] {
        for hook in HOOKS {
            let mut here = filters(bed, interface, hook);
            assert_eq!(here.len(), 1, "{interface} {hook}: {here:?}");
            all.append(&mut here);
        }
    }
    all
}

fn expect_detached(bed: &Bed) {
    for interface in ["clients", "brokers"] {
        for hook in HOOKS {
            assert_eq!(filters(bed, interface, hook), [""; 0], "{interface} {hook}");
        }
    }
}

fn marks(setup: &Setup) -> Vec<String> {
    let mut pins = setup.pins().list();
    pins.retain(|pin| pin.starts_with("filters/") || pin.starts_with("links/"));
    pins
}

#[test]
fn messages_are_delivered_and_the_operator_is_told() {
    let paho = need!(Paho::find());
    for family in Family::BOTH {
        let mut bed = need!(bed(family));
        let ip = family.broker().ip();
        let broker = need!(bed.topology.broker.run(|| Mosquitto::start_at("a", ip)));
        bed.setup = bed.setup.backend("broker-a", broker.address);
        let daemon = bed.start();
        let address = family.balancer().to_string();

        let run = || paho.run("delivery.py", &[&address, "5.0"]);
        bed.topology.client.run(run);

        assert_eq!(daemon.chosen("eligible"), 2, "{}", daemon.status());
        let downgrades = daemon.status()["downgrades"].to_string();
        assert!(downgrades.contains("clsact"), "{downgrades}");
        assert_eq!(
            daemon.log().matches("clsact").count(),
            1,
            "{}",
            daemon.log()
        );
        attached(&bed);
    }
}

#[test]
fn connections_outlive_a_daemon_and_the_next_replaces_the_filters() {
    for family in Family::BOTH {
        let bed = need!(bed(family));
        let _echo = bed.topology.broker.run(|| Echo::start_at(family.broker()));
        let mut daemon = bed.start();
        let clients = (0..50).map(|n| bed.open(&format!("c{n}"))).collect();
        let talk = Talk::start(clients);
        bed.until_spliced(50);
        let before = attached(&bed);

        daemon.kill();
        talk.until_all_answered();
        assert_eq!(attached(&bed), before);
        let daemon = bed.start();
        talk.until_all_answered();

        let after = attached(&bed);
        assert!(
            before.iter().zip(&after).all(|(old, new)| old != new),
            "other programs: {after:?}"
        );
        assert_eq!(daemon.connections(), 50);
        drop(talk.end());
        bed.until_forgotten();
    }
}

#[test]
fn detach_removes_the_filters() {
    let bed = need!(bed(Family::V4));
    bed.start().terminate();
    assert_eq!(
        marks(&bed.setup),
        [
            "filters/brokers-egress",
            "filters/brokers-ingress",
            "filters/clients-egress",
            "filters/clients-ingress",
        ]
    );
    attached(&bed);

    let detached = bed.topology.balancer.run(|| bed.setup.sluice("detach"));

    assert!(detached.status.success(), "{detached:?}");
    assert!(!bed.setup.pins().path().exists());
    expect_detached(&bed);
}

#[test]
fn a_daemon_may_attach_otherwise_than_the_one_before() {
    let bed = need!(bed(Family::V4));
    let _echo = bed
        .topology
        .broker
        .run(|| Echo::start_at(bed.family.broker()));
    let mut daemon = bed.start();
    let mut clients: Vec<_> = (0..5).map(|n| bed.open(&format!("c{n}"))).collect();
    bed.until_spliced(5);
    say(&mut clients, 0);
    daemon.kill();

    let tcx = bed.setup.clone().kernel(r#"attach = "auto""#);
    let mut daemon = bed.topology.balancer.run(|| tcx.start());
    say(&mut clients, 1);
    expect_detached(&bed);
    assert_eq!(marks(&tcx).len(), 4);
    assert!(marks(&tcx).iter().all(|mark| mark.starts_with("links/")));
    assert_eq!(daemon.status()["downgrades"].to_string(), "[]");
    daemon.kill();

    let _daemon = bed.start();
    say(&mut clients, 2);
    attached(&bed);
    assert!(
        marks(&bed.setup)
            .iter()
            .all(|mark| mark.starts_with("filters/"))
    );
}

#[test]
fn an_interface_that_is_made_anew_gets_its_filters() {
    let bed = need!(bed(Family::V4));
    let _echo = bed
        .topology
        .broker
        .run(|| Echo::start_at(bed.family.broker()));
    let _daemon = bed.start();
    let mut clients = vec![bed.open("old")];
    bed.until_spliced(1);
    say(&mut clients, 0);
    // What the broker sends again to an interface without programs, the host answers with a reset.
    harness::wait::until("all is acknowledged", || {
        bed.topology.broker.run(harness::sockets::stored) == 0
    });

    bed.topology.rejoin_broker();

    harness::wait::until("the new interface has its filters", || {
        HOOKS
            .iter()
            .all(|hook| filters(&bed, "brokers", hook).len() == 1)
    });
    say(&mut clients, 1);
}
