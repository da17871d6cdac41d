//! Real brokers and clients, what the configuration may ask for, and a daemon that is killed.

use std::net::SocketAddr;

use harness::bed::{Bed, Family};
use harness::bpftool::Pins;
use harness::client::Client;
use harness::echo::Echo;
use harness::ends::talk;
use harness::mosquitto::Mosquitto;
use harness::namespace::Topology;
use harness::paho::Paho;
use harness::setup::Setup;
use harness::stream::expect_end;
use harness::talk::say;
use harness::{need, wait};

use crate::{Ground, SOCKMAP, chosen, connect, loopback, number, setup};

#[test]
fn messages_are_delivered_at_every_qos() {
    let paho = need!(Paho::find());
    for family in Family::BOTH {
        let topology = need!(Topology::new());
        let ip = loopback(family);
        let broker = need!(topology.balancer.run(|| Mosquitto::start_at("a", ip)));
        let mut bed = need!(Bed::on(topology, family));
        bed.setup = need!(setup(family, broker.address));
        let daemon = bed.start();
        let address = family.balancer().to_string();

        for version in ["3.1", "3.1.1", "5.0"] {
            let run = || paho.run("delivery.py", &[&address, version]);
            bed.topology.client.run(run);
        }

        assert_eq!(chosen(&daemon), 6, "{}", daemon.status());
        wait::until("no connection is left", || {
            number(&daemon, "connections") == 0
        });
        assert_eq!(number(&daemon, "aborted"), 0);
        bed.until_forgotten();
    }
}

#[test]
fn a_broker_on_another_host_may_be_of_the_other_family() {
    let mut bed = need!(Bed::new(Family::V4));
    let broker = Family::V6.broker();
    let _echo = bed.topology.broker.run(|| Echo::start_at(broker));
    bed.setup = need!(setup(Family::V4, broker));
    let daemon = bed.start();

    let mut clients = vec![bed.open("a")];
    say(&mut clients, 0);
    say(&mut clients, 1);

    assert_eq!(chosen(&daemon), 1, "{}", daemon.status());
    assert_eq!(bed.setup.pins().client("a")["path"], SOCKMAP);
    assert_eq!(bed.setup.pins().dump("FLOWS"), []);
}

#[test]
fn it_is_taken_only_where_it_is_asked_for() {
    let topology = need!(Topology::new());
    let echo = topology.balancer.run(Echo::start);
    for (wish, path, because) in [
        ("auto", "splice", "eligible"),
        ("splice", "splice", "eligible"),
        ("copy", "copy", "configured"),
        ("sockmap", "sockmap", "configured"),
    ] {
        let setup = need!(on(echo.address, wish));
        let daemon = topology.balancer.run(|| setup.start());
        let open = || Client::open(Family::V4.balancer(), &connect("a"));
        let mut clients = vec![topology.client.run(open)];
        say(&mut clients, 0);

        let status = daemon.status();
        let choices = status["choices"].as_array().expect("there is a list");
        let chosen = choices.iter().find(|choice| choice["count"] != 0);
        let chosen = chosen.expect("one was chosen");
        assert_eq!([&chosen["path"], &chosen["because"]], [path, because]);
        assert_eq!(number(&daemon, "connections"), u64::from(path == "sockmap"));
    }
}

fn on(broker: SocketAddr, wish: &str) -> Result<Setup, String> {
    Ok(Setup::new()
        .bind(&[Family::V4.balancer()])
        .backend("broker", broker)
        .with_kernel(Pins::new()?)
        .kernel(r#"interfaces = ["clients", "lo"]"#)
        .listener(&format!("datapath = {wish:?}")))
}

/// Unlike a spliced connection, one on this path ends with the daemon, and so does all that it had.
#[test]
fn nothing_is_left_of_a_daemon_that_is_killed() {
    let mut ground = need!(Ground::new(Family::V4));
    let (mut client, broker) = ground.open("a");
    talk(&client, &broker);
    assert_eq!(ground.bed.setup.pins().client("a")["path"], SOCKMAP);

    ground.daemon.kill();

    assert_eq!(client.rest(), b"");
    expect_end(&broker);
    let pins = ground.bed.setup.pins().list();
    for map in ["SOCKETS", "STREAMS", "MOVED", "CONGESTED"] {
        assert!(!pins.iter().any(|pin| pin.ends_with(map)), "{pins:?}");
    }
    ground.daemon = ground.bed.start();
    ground.until_forgotten();
    let (client, broker) = ground.open("a");
    talk(&client, &broker);
}
