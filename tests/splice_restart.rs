//! Connections in the kernel do without the daemon, and the next daemon takes them over.

#![cfg(test)]

use std::collections::HashSet;

use harness::bed::{Bed, Family, From};
use harness::client::Client;
use harness::daemon::Daemon;
use harness::echo::Echo;
use harness::namespace::Place;
use harness::shape::Shape;
use harness::sockets;
use harness::talk::Talk;
use harness::wait;
use harness::wire::{Connect, Version};
use harness::{need, skip};
use serde_json::Value;

const TALKING: usize = 500;

const PLACES: [(Place, Family); 5] = [
    (Place::Apart, Family::V4),
    (Place::Apart, Family::V6),
    (Place::Loopback, Family::V4),
    (Place::BrokerHere, Family::V4),
    (Place::AllHere, Family::V6),
];

/// A bed with an echo for a broker.
fn bed(place: Place, family: Family) -> Result<(Bed, Echo, Daemon), String> {
    let bed = Bed::at(place, family)?;
    let echo = bed.topology.broker.run(|| Echo::start_at(bed.broker));
    let daemon = bed.start();
    Ok((bed, echo, daemon))
}

fn open(bed: &Bed, count: usize, name: &str) -> Vec<Client> {
    (0..count)
        .map(|n| bed.open(&format!("{name}-{n}")))
        .collect()
}

fn counted(bed: &Bed) -> Value {
    bed.setup.pins().backend("broker").value["connections"].clone()
}

/// The ports toward the broker, of connections in the kernel.
fn ports(bed: &Bed) -> Vec<u64> {
    bed.flows(From::Client)
        .iter()
        .map(|flow| flow.number("source_port"))
        .collect()
}

/// What of a flow does not change while it lives.
fn fixed(bed: &Bed) -> HashSet<String> {
    let fields = [
        "session",
        "source_port",
        "sequence_shift",
        "acknowledgment_shift",
        "backend",
    ];
    let fixed = |value: &Value| fields.map(|field| value[field].to_string()).join(" ");
    bed.flows(From::Client)
        .iter()
        .map(|flow| fixed(&flow.value))
        .collect()
}

#[test]
fn sessions_outlive_a_daemon_that_is_killed_and_are_adopted() {
    for (place, family) in PLACES {
        let (bed, echo, mut daemon) = need!(bed(place, family));
        let talk = Talk::start(open(&bed, TALKING, "old"));
        bed.until_spliced(TALKING);
        talk.until_all_answered();
        let before = fixed(&bed);
        assert_eq!(before.len(), TALKING);

        daemon.kill();
        talk.until_all_answered();
        let daemon = bed.start();
        talk.until_all_answered();

        assert_eq!(fixed(&bed), before);
        assert_eq!(counted(&bed), TALKING);
        assert_eq!(daemon.connections(), TALKING as u64);
        let new = open(&bed, 50, "new");
        bed.until_spliced(TALKING + 50);
        let used: HashSet<u64> = ports(&bed).into_iter().collect();
        assert_eq!(
            used.len(),
            TALKING + 50,
            "every connection has a port of its own"
        );
        assert_eq!(bed.setup.pins().dump("CLIENTS").len(), TALKING + 50);
        talk.until_all_answered();

        drop((talk.end(), new));
        bed.until_forgotten();
        drop(echo);
    }
}

#[test]
fn what_a_killed_daemon_was_handing_over_is_reset_and_the_rest_goes_on() {
    for (place, family) in PLACES {
        let (bed, _echo, mut daemon) = need!(bed(place, family));
        let talk = Talk::start(open(&bed, 50, "old"));
        bed.until_spliced(50);
        let half = std::thread::scope(|scope| {
            let opening = scope.spawn(|| {
                let dial = |_| bed.dial(Shape::default());
                let mut clients: Vec<Client> = (0..200).map(dial).collect();
                for (n, client) in clients.iter_mut().enumerate() {
                    client.send(&Connect::new(Version::V5, &format!("half-{n}")).bytes());
                }
                clients
            });
            wait::until("some are on their way", || {
                bed.setup.pins().dump("FLOWS").len() > 120
            });
            daemon.kill();
            opening.join().expect("a client may connect until then")
        });

        let _daemon = bed.start();

        talk.until_all_answered();
        // Whoever was not there yet is told, and whoever was can go.
        drop(half);
        wait::until("only the old are left", || {
            bed.setup.pins().dump("FLOWS").len() == 100
        });
        // The FINs of the killed daemon's sockets are answered when the kernel sends them again.
        wait::until_empty("the sockets of those who are reset", || {
            bed.topology.balancer.run(sockets::of_others)
        });
        bed.until_spliced(50);
        wait::until("only the old are counted", || counted(&bed) == 50);
        drop(talk.end());
        bed.until_forgotten();
    }
}

#[test]
fn a_daemon_that_is_terminated_leaves_sessions_alone() {
    let (bed, _echo, mut daemon) = need!(bed(Place::Apart, Family::V4));
    let talk = Talk::start(open(&bed, 50, "old"));
    bed.until_spliced(50);

    assert!(daemon.terminate().success());
    talk.until_all_answered();
    let _daemon = bed.start();
    talk.until_all_answered();

    assert_eq!(counted(&bed), 50);
    drop(talk.end());
    bed.until_forgotten();
}

#[test]
fn what_ended_while_no_daemon_ran_is_cleaned_up() {
    let (bed, echo, mut daemon) = need!(bed(Place::Apart, Family::V4));
    let mut clients = open(&bed, 40, "old");
    bed.until_spliced(40);
    daemon.kill();
    let left = clients.split_off(30);
    drop(clients);

    let _daemon = bed.start();

    wait::until("those that have gone are forgotten", || counted(&bed) == 10);
    drop(echo);
    drop(left);
    bed.until_forgotten();
}

#[test]
fn an_adopted_client_that_vanishes_is_missed() {
    let (bed, _echo, mut daemon) = need!(bed(Place::Apart, Family::V4));
    let connect = Connect::new(Version::V5, "quiet").keep_alive(1);
    let _client = bed.introduce(Shape::default(), &connect);
    bed.until_spliced(1);
    daemon.kill();
    bed.topology.client.ip(&["link", "set", "uplink", "down"]);

    let daemon = bed.start();

    bed.until_forgotten();
    let ended = &daemon.status()["splice"]["ended"];
    let Some(ended) = ended.as_array() else {
        skip!("this daemon does not tell how connections ended");
    };
    assert!(
        ended
            .iter()
            .any(|ended| ended["reason"] == "idle" && ended["count"] == 1)
    );
}
