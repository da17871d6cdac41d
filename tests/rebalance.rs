//! Clients that are elsewhere than they belong, and are moved there.

#![cfg(test)]

use std::collections::HashSet;
use std::thread;
use std::time::Duration;

use harness::bed::{Bed, Family};
use harness::client::Client;
use harness::daemon::Daemon;
use harness::departures::{ended_by_now, until_ended};
use harness::echo::Echo;
use harness::need;
use harness::wait;
use serde_json::Value;

const CLIENTS: usize = 120;
const COPY: &str = r#"datapath = "copy""#;

/// A bed whose only pool has two backends, the second of which is out of service for now.
struct Two {
    bed: Bed,
    daemon: Daemon,
    _echoes: [Echo; 2],
}

impl Two {
    fn new(listener: &str, balance: &str) -> Result<Self, String> {
        let mut bed = Bed::new(Family::V4)?;
        let first = bed.family.broker();
        let second = (first.ip(), first.port() + 1).into();
        bed.setup = bed
            .setup
            .backend("other", second)
            .listener(listener)
            .pool(&format!("balance = {balance:?}"));
        let echoes = [first, second].map(|address| {
            let start = || Echo::start_at(address);
            bed.topology.broker.run(start)
        });
        let daemon = bed.start();
        daemon.told(&["disable", "other"]);
        Ok(Self {
            bed,
            daemon,
            _echoes: echoes,
        })
    }

    fn open(&self) -> Vec<Client> {
        let open = |n| self.bed.open(&id(n));
        (0..CLIENTS).map(open).collect()
    }

    fn connections(&self, backend: &str) -> u64 {
        let backend: Value = self.daemon.backend(backend);
        backend["connections"].as_u64().expect("it is a number")
    }

    fn rebalanced(&self) -> u64 {
        let status = self.daemon.status();
        let evicted = status["evicted"].as_array().expect("there is a list");
        let of_these = evicted.iter().find(|one| one["reason"] == "rebalanced");
        of_these.expect("it is counted")["count"]
            .as_u64()
            .expect("it is a number")
    }

    /// The number of the backend that a client has by `CLIENTS`.
    fn backend_of(&self, n: usize) -> Value {
        self.bed.setup.pins().client(&id(n))["backend"].clone()
    }
}

fn id(n: usize) -> String {
    format!("device-{n}")
}

#[test]
fn clients_that_belong_to_a_backend_that_is_back_are_moved_there_and_no_others() {
    for listener in [r#"datapath = "auto""#, COPY] {
        let two = need!(Two::new(listener, "client_id"));
        let mut clients = two.open();
        assert_eq!(two.connections("broker"), CLIENTS as u64);
        two.daemon.told(&["enable", "other"]);
        assert_eq!(two.connections("other"), 0, "nobody is moved unasked");
        if listener != COPY {
            two.bed.until_spliced(CLIENTS);
        }

        let said = two.daemon.told(&["rebalance", "--max-rate", "200/s"]);
        assert!(said.contains("clients that belong to another"), "{said}");
        // By hash, it is about one half of them.
        until_ended(&clients, CLIENTS / 4);
        let mut moved = HashSet::new();
        wait::until("nobody else goes", || {
            let before = moved.len();
            let more = ended_by_now(&clients);
            moved.extend(more);
            thread::sleep(Duration::from_millis(700));
            moved.len() == before
        });
        for n in &moved {
            clients[*n] = two.bed.open(&id(*n));
        }

        let other = two.bed.setup.pins().backend("other").key;
        for n in 0..CLIENTS {
            assert_eq!(two.backend_of(n) == other, moved.contains(&n), "{n}");
        }
        assert_eq!(two.connections("other"), moved.len() as u64);
        assert_eq!(two.rebalanced(), moved.len() as u64);

        // Everybody is where they belong.
        two.daemon.told(&["rebalance", "brokers"]);
        thread::sleep(Duration::from_secs(1));
        assert_eq!(two.rebalanced(), moved.len() as u64);
        assert!(ended_by_now(&clients).is_empty());
        drop(clients);
        two.bed.until_forgotten();
    }
}

#[test]
fn clients_that_come_back_are_spread_where_the_fewest_connections_count() {
    let two = need!(Two::new(r#"datapath = "auto""#, "least_connections"));
    let mut clients = two.open();
    two.bed.until_spliced(CLIENTS);
    two.daemon.told(&["enable", "other"]);

    two.daemon.told(&["rebalance", "--max-rate", "500/s"]);
    for departure in until_ended(&clients, CLIENTS / 2) {
        clients[departure.client] = two.bed.open(&id(departure.client));
    }

    for backend in ["broker", "other"] {
        wait::until("each has its half", || {
            two.connections(backend) == CLIENTS as u64 / 2
        });
    }
    let said = two.daemon.told(&["rebalance"]);
    assert!(
        said.contains("no backend has more than its share"),
        "{said}"
    );
    drop(clients);
    two.bed.until_forgotten();
}

#[test]
fn only_the_excess_is_ended_where_clients_are_spread_by_number() {
    for listener in [r#"datapath = "auto""#, COPY] {
        let two = need!(Two::new(listener, "round_robin"));
        let clients = two.open();
        two.daemon.told(&["enable", "other"]);

        let said = two.daemon.told(&["rebalance", "--max-rate", "500/s"]);

        assert!(said.contains("60 of its 120 connections end"), "{said}");
        until_ended(&clients, CLIENTS / 2);
        wait::until("half of them are left", || {
            two.connections("broker") == CLIENTS as u64 / 2
        });
        thread::sleep(Duration::from_secs(1));
        assert_eq!(two.connections("broker"), CLIENTS as u64 / 2);
        assert_eq!(two.rebalanced(), CLIENTS as u64 / 2);
        drop(clients);
        two.bed.until_forgotten();
    }
}
