//! Real clients and brokers on the splice path, and where the path is another one.

#![cfg(test)]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Command;

use harness::bed::{Bed, Family};
use harness::bpftool::Pins;
use harness::echo::Echo;
use harness::mosquitto::Mosquitto;
use harness::namespace::{Host, Place};
use harness::need;
use harness::paho::Paho;
use harness::setup::Setup;
use harness::talk::say;
use harness::wire::{Connect, Version};

/// A bed with mosquitto for a broker.
fn with_mosquitto(family: Family) -> Result<(Bed, Mosquitto), String> {
    let mut bed = Bed::new(family)?;
    let ip = family.broker().ip();
    let broker = bed.topology.broker.run(|| Mosquitto::start_at("a", ip))?;
    bed.setup = setup(family.balancer(), broker.address)?;
    Ok((bed, broker))
}

/// A balancer that is attached to every interface of its host.
fn setup(listener: SocketAddr, broker: SocketAddr) -> Result<Setup, String> {
    let setup = Setup::new().bind(&[listener]).backend("broker", broker);
    Ok(setup.with_kernel(Pins::new()?))
}

#[test]
fn messages_are_delivered_at_every_qos() {
    let paho = need!(Paho::find());
    for family in Family::BOTH {
        let (bed, _broker) = need!(with_mosquitto(family));
        let setup = bed
            .setup
            .clone()
            .kernel(r#"interfaces = ["clients", "brokers"]"#);
        let daemon = bed.topology.balancer.run(|| setup.start());
        let address = family.balancer().to_string();

        for version in ["3.1", "3.1.1", "5.0"] {
            let run = || paho.run("delivery.py", &[&address, version]);
            bed.topology.client.run(run);
        }

        assert_eq!(daemon.chosen("eligible"), 6, "{}", daemon.status());
        assert_eq!(daemon.status()["splice"]["aborted"], 0);
        bed.until_forgotten();
    }
}

#[test]
fn a_pool_that_is_to_be_copied_is_copied() {
    let bed = need!(Bed::new(Family::V4));
    let _echo = bed
        .topology
        .broker
        .run(|| Echo::start_at(bed.family.broker()));
    let setup = bed.setup.clone().listener(r#"datapath = "copy""#);
    let daemon = bed.topology.balancer.run(|| setup.start());

    let mut clients = vec![bed.open("a")];
    say(&mut clients, 0);

    assert_eq!(daemon.chosen("configured"), 1, "{}", daemon.status());
    assert_eq!(bed.setup.pins().dump("FLOWS"), []);
    let timed = bed.topology.balancer.run(sockets_with_timestamps);
    assert_eq!(timed, 2, "what is not to be spliced keeps its timestamps");

    let copied = setup.config();
    bed.setup
        .write_text(&copied.replace("\"copy\"", "\"auto\""));
    daemon.reload();
    clients.push(bed.open("b"));
    assert_eq!(daemon.chosen("eligible"), 1, "{}", daemon.status());
    say(&mut clients, 1);

    // 192.0.2.1 is no address of this host, so that the reload fails when all else is prepared.
    let elsewhere =
        "\n[[listeners]]\nname = \"no\"\nbind = [\"192.0.2.1:1\"]\npool = \"brokers\"\n";
    bed.setup.write_text(&(copied.clone() + elsewhere));
    assert!(!daemon.ask_reload().status.success());
    clients.push(bed.open("c"));
    assert_eq!(daemon.chosen("eligible"), 2, "{}", daemon.status());

    bed.setup.write_text(&copied);
    daemon.reload();
    clients.push(bed.open("d"));
    assert_eq!(daemon.chosen("configured"), 2, "{}", daemon.status());
    say(&mut clients, 2);
    let timed = bed.topology.balancer.run(sockets_with_timestamps);
    assert_eq!(timed, 4, "as it was");
}

/// Connected sockets of this network whose connections agreed on timestamps (RFC 7323 section 3).
fn sockets_with_timestamps() -> usize {
    let mut ss = Command::new("ss");
    ss.args(["-Htino", "state", "established"]);
    let output = ss.output().expect("ss is there");
    let text = String::from_utf8_lossy(&output.stdout);
    text.split_whitespace().filter(|word| *word == "ts").count()
}

#[test]
fn a_broker_on_this_host_is_left_to_the_kernel() {
    let paho = need!(Paho::find());
    for (place, family) in [
        (Place::Loopback, Family::V4),
        (Place::Loopback, Family::V6),
        (Place::BrokerHere, Family::V4),
        (Place::AllHere, Family::V6),
    ] {
        let mut bed = need!(Bed::at(place, family));
        let ip = bed.broker.ip();
        let broker = need!(bed.topology.broker.run(|| Mosquitto::start_at("a", ip)));
        bed.setup = need!(setup(family.balancer(), broker.address))
            .kernel(r#"interfaces = ["clients", "lo"]"#);
        let daemon = bed.start();
        let address = family.balancer().to_string();

        for version in ["3.1", "3.1.1", "5.0"] {
            let run = || paho.run("delivery.py", &[&address, version]);
            bed.topology.client.run(run);
        }

        assert_eq!(daemon.chosen("eligible"), 6, "{}", daemon.status());
        assert_eq!(daemon.status()["splice"]["aborted"], 0);
        bed.until_forgotten();
    }
}

#[test]
fn a_broker_of_the_other_family_is_served_by_the_daemon() {
    let mut bed = need!(Bed::new(Family::V4));
    let _echo = bed
        .topology
        .broker
        .run(|| Echo::start_at(Family::V6.broker()));
    bed.setup = need!(setup(Family::V4.balancer(), Family::V6.broker()));
    let setup = bed
        .setup
        .clone()
        .kernel(r#"interfaces = ["clients", "brokers"]"#);
    let daemon = bed.topology.balancer.run(|| setup.start());

    let mut clients = vec![bed.open("a")];
    say(&mut clients, 0);

    assert_eq!(daemon.chosen("ipv4_and_ipv6"), 1, "{}", daemon.status());
}

/// The address of the bridge on the balancer's host, and the one of the container behind it.
const BRIDGE: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 3, 0, 1), Ipv4Addr::new(10, 3, 0, 2)];

/// A container of the balancer's host: a namespace behind a port of a bridge.
fn container(host: &Host) -> Result<Host, String> {
    let container = Host::new()?;
    let path = container.path();
    host.ip(&["link", "add", "bridge", "type", "bridge"]);
    host.ip(&[
        "link", "add", "port", "type", "veth", "peer", "name", "uplink", "netns", &path,
    ]);
    host.ip(&["link", "set", "port", "master", "bridge", "up"]);
    let [ours, theirs] = BRIDGE.map(IpAddr::V4);
    host.add("bridge", &[ours]);
    container.add("uplink", &[theirs]);
    container.ip(&["route", "add", "default", "via", &ours.to_string()]);
    Ok(container)
}

#[test]
fn a_broker_in_a_container_is_reached_through_its_bridge() {
    // Once with the programs on the bridge alone, once on its port as well.
    for interfaces in [
        r#"["clients", "bridge"]"#,
        r#"["clients", "bridge", "port"]"#,
    ] {
        let mut bed = need!(Bed::new(Family::V4));
        let container = need!(container(&bed.topology.balancer));
        let address = SocketAddr::from((BRIDGE[1], 1883));
        let echo = container.run(|| Echo::start_at(address));
        bed.setup = need!(setup(bed.family.balancer(), address));
        let setup = bed
            .setup
            .clone()
            .kernel(&format!("interfaces = {interfaces}"));
        let daemon = bed.topology.balancer.run(|| setup.start());

        let connect = |n| Connect::new(Version::V5, &format!("c{n}"));
        let mut clients: Vec<_> = (0..20)
            .map(|n| bed.introduce(harness::shape::Shape::default(), &connect(n)))
            .collect();
        bed.until_spliced(20);
        say(&mut clients, 0);

        assert_eq!(daemon.chosen("eligible"), 20, "{}", daemon.status());
        drop(clients);
        bed.until_forgotten();
        drop(echo);
    }
}
