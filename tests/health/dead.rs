//! Connections of a broker that is gone without a word, on every path.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use harness::bed::{Bed, Family};
use harness::broker::Broker;
use harness::client::Client;
use harness::daemon::Daemon;
use harness::echo::Echo;
use harness::need;
use harness::setup::Setup;
use harness::wait;
use harness::wire::{self, Connect, Version};

use super::checked;

/// Connections to each of two brokers.
const EACH: usize = 20;

/// Accepts clients and echoes. When the listener is closed it goes on with those it has: nothing tells
/// them that it is dead.
fn echo(mut stream: TcpStream) {
    let Ok(connect) = wire::read_packet(&mut stream) else {
        // It was a check.
        return;
    };
    let connack = wire::connack(wire::level(&connect), 0, &[]);
    stream.write_all(&connack).expect("the daemon reads");
    let mut buffer = [0; 512];
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        if stream.write_all(&buffer[..count]).is_err() {
            return;
        }
    }
}

fn is_answered(client: &mut Client) {
    client.send(b"hello");
    assert_eq!(client.bytes(5), b"hello");
}

/// Clients of the first backend, and those of the second.
fn open(dial: impl Fn(&Connect) -> Client, backends: usize) -> [Vec<Client>; 2] {
    let mut clients = [Vec::new(), Vec::new()];
    for n in 0..backends * EACH {
        let mut client = dial(&Connect::new(Version::V3_1_1, &format!("client-{n}")));
        is_answered(&mut client);
        clients[n % backends].push(client);
    }
    clients
}

fn evicted(daemon: &Daemon) -> u64 {
    let status = daemon.status();
    let evicted = status["evicted"].as_array().expect("there is a list");
    let dead = evicted.iter().find(|counted| counted["reason"] == "dead");
    dead.and_then(|dead| dead["count"].as_u64())
        .expect("this reason is counted")
}

/// The clients of a dead broker hear of it, and only those.
fn are_told(daemon: &Daemon, [dying, mut good]: [Vec<Client>; 2]) {
    daemon.until_backend_is("broker", "down");
    for mut client in dying {
        assert!(client.rest().is_empty());
    }
    good.iter_mut().for_each(is_answered);
    wait::until("all are counted", || evicted(daemon) == EACH as u64);
    wait::until("it has none", || {
        daemon.backend("broker")["connections"] == 0
    });
    assert_eq!(daemon.backend("good")["connections"], EACH);
}

fn two(dying: SocketAddr, good: SocketAddr) -> Setup {
    checked("tcp")
        .backend("broker", dying)
        .backend("good", good)
}

#[test]
fn copied_connections_of_a_dead_broker_are_ended() {
    let (dying, good) = (Broker::start(echo), Echo::start());
    let daemon = two(dying.address(), good.address).start();
    let clients = open(|connect| Client::open(daemon.address(), connect), 2);

    drop(dying);
    are_told(&daemon, clients);
}

#[test]
fn spliced_connections_of_a_dead_broker_are_reset() {
    for family in Family::BOTH {
        let mut bed = need!(Bed::new(family));
        let good = SocketAddr::new(family.broker().ip(), family.broker().port() + 1);
        for line in [
            r#"check = "tcp""#,
            r#"interval = "50ms""#,
            r#"fast_interval = "20ms""#,
        ] {
            bed.setup = bed.setup.health(line);
        }
        bed.setup = bed
            .setup
            .pool(r#"balance = "round_robin""#)
            .backend("good", good);
        let (dying, echo) = bed.topology.broker.run(|| {
            (
                Broker::start_at(family.broker(), echo),
                Echo::start_at(good),
            )
        });
        let daemon = bed.start();
        let clients = open(
            |connect| bed.introduce(harness::shape::Shape::default(), connect),
            2,
        );
        wait::until("all are spliced", || {
            daemon.status()["splice"]["left"] == 2 * EACH
        });

        drop(dying);
        are_told(&daemon, clients);
        drop(echo);
    }
}

#[test]
fn connections_are_kept_where_the_operator_wants_it() {
    let (dying, good) = (Broker::start(echo), Echo::start());
    let daemon = two(dying.address(), good.address)
        .health(r#"on_dead = "keep""#)
        .start();
    let [mut kept, _good] = open(|connect| Client::open(daemon.address(), connect), 2);

    drop(dying);
    daemon.until_backend_is("broker", "down");
    // It is not only down but dead when as many checks more have failed.
    std::thread::sleep(std::time::Duration::from_millis(500));

    kept.iter_mut().for_each(is_answered);
    assert_eq!(evicted(&daemon), 0);
}

#[test]
fn connections_stay_while_there_is_nowhere_else_to_go() {
    let dying = Broker::start(echo);
    let address = dying.address();
    let spare = Echo::start();
    let spare_address = spare.address;
    drop(spare);
    let daemon = two(address, spare_address).start();
    daemon.until_backend_is("good", "down");
    let [mut clients, _] = open(|connect| Client::open(daemon.address(), connect), 1);

    drop(dying);
    daemon.until_backend_is("broker", "down");
    std::thread::sleep(std::time::Duration::from_millis(500));
    clients.iter_mut().for_each(is_answered);
    assert_eq!(evicted(&daemon), 0);

    // Another one comes up: now they can be told.
    let _spare = Echo::start_at(spare_address);
    for mut client in clients {
        assert!(client.rest().is_empty());
    }
}
