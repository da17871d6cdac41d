//! Clients, backends and listeners as bpftool shows them to an operator.

#![cfg(test)]

use std::collections::HashSet;
use std::net::Ipv4Addr;

use harness::bpftool::{Entry, Pins};
use harness::broker::{self, Broker, refusing};
use harness::client::Client;
use harness::daemon::Daemon;
use harness::echo::Echo;
use harness::setup::Setup;
use harness::wire::{self, Connect, Version};
use harness::{namespace, need, wait};
use lb_common::client::{Path, SHOWN_BYTES};
use serde_json::{Value, json};

/// A network of its own, a broker, and a daemon that uses the kernel.
struct Ground {
    _echo: Echo,
    daemon: Daemon,
    setup: Setup,
}

impl Ground {
    fn new() -> Result<Self, String> {
        namespace::enter_new()?;
        let echo = Echo::start();
        let setup = Setup::new()
            .backend("echo", echo.address)
            .with_kernel(Pins::new()?);
        Ok(Self {
            daemon: setup.start(),
            _echo: echo,
            setup,
        })
    }

    fn open(&self, version: Version, id: &str) -> Client {
        Client::open(self.daemon.address(), &Connect::new(version, id))
    }

    fn clients(&self) -> Vec<Entry> {
        self.setup.pins().dump("CLIENTS")
    }

    fn until_clients(&self, count: usize) {
        wait::until(&format!("{count} clients are listed"), || {
            self.clients().len() == count
        });
    }
}

/// An IPv4 address as the maps keep it.
fn mapped(ip: Ipv4Addr) -> Value {
    json!(ip.to_ipv6_mapped().octets())
}

#[test]
fn a_client_is_listed_with_its_id_and_everything_known_of_it() {
    let ground = need!(Ground::new());
    let started = ground.daemon.status()["since"].as_u64();
    let mut connected = Vec::new();

    for (version, clean) in [(Version::V3_1, 1), (Version::V3_1_1, 0), (Version::V5, 0)] {
        let id = format!("sensor/kitchen {version:?}");
        let connect = Connect::new(version, &id).keep_alive(77);
        let connect = if clean == 0 {
            connect.keep_session()
        } else {
            connect
        };
        let client = Client::open(ground.daemon.address(), &connect);
        let port = client.0.local_addr().expect("it is connected").port();
        connected.push(client);

        let listed = ground.setup.pins().client(&id);

        assert_eq!(listed["backend"], ground.setup.pins().backend("echo").key);
        assert_eq!(listed["protocol_level"], version as u8);
        assert_eq!(listed["keep_alive"], 77);
        assert_eq!(listed["clean_start"], clean);
        assert_eq!(listed["address"], mapped(Ipv4Addr::LOCALHOST));
        assert_eq!(listed["port"], port);
        assert_eq!(listed["path"], Path::Splice as u8);
        assert_eq!(listed["id_bytes"], id.len());
        assert!(listed["since"].as_u64() >= started, "{listed}");
    }

    drop(connected);
    ground.until_clients(0);
}

#[test]
fn backends_and_listeners_are_listed_as_configured() {
    let ground = need!(Ground::new());
    let _clients = [
        ground.open(Version::V5, "one"),
        ground.open(Version::V5, "two"),
    ];

    let backend = || ground.setup.pins().backend("echo").value;
    wait::until("both are counted", || backend()["connections"] == 2);
    let backend = backend();
    let status = ground.daemon.status();

    assert_eq!(backend["port"], ground._echo.address.port());
    assert_eq!(backend["address"], mapped(Ipv4Addr::LOCALHOST));
    assert_eq!(backend["weight"], 1);
    assert_eq!(backend["state"], 1);
    let mut ports = ground.setup.pins().dump("LISTENERS");
    ports.retain(|listener| listener.key["port"] == ground.daemon.address().port());
    assert_eq!(ports.len(), 2, "one for each family");
    assert_eq!(status["listeners"][0]["syns"], ground.setup.pins().syns());
}

#[test]
fn every_syn_is_counted() {
    let ground = need!(Ground::new());
    assert_eq!(ground.setup.pins().syns(), 0);

    for address in [ground.daemon.address(), ground.daemon.address_v6()] {
        for _ in 0..3 {
            drop(Client::dial(address));
        }
    }

    assert_eq!(ground.setup.pins().syns(), 6);
}

#[test]
fn long_ids_with_the_same_beginning_are_distinct() {
    let ground = need!(Ground::new());
    let lengths = [
        SHOWN_BYTES - 1,
        SHOWN_BYTES,
        SHOWN_BYTES + 1,
        100,
        1000,
        65_000,
    ];
    let ids = lengths.map(|length: usize| "x".repeat(length));
    let twins = lengths.map(|length: usize| "x".repeat(length - 1) + "y");

    let clients: Vec<Client> = ids
        .iter()
        .chain(&twins)
        .map(|id| ground.open(Version::V3_1_1, id))
        .collect();

    let listed = ground.clients();
    let keys: HashSet<String> = listed.iter().map(|entry| entry.key.to_string()).collect();
    assert_eq!(keys.len(), 12);
    for length in lengths {
        let shown: Vec<&Entry> = listed
            .iter()
            .filter(|entry| entry.value["id_bytes"] == length)
            .collect();
        assert_eq!(shown.len(), 2);
        for entry in shown {
            let id = entry.key["id"].as_str().expect("an id is text");
            assert_eq!(id.len(), length.min(SHOWN_BYTES));
            assert_eq!(is_zero(&entry.key["digest"]), length <= SHOWN_BYTES);
        }
    }
    drop(clients);
    ground.until_clients(0);
}

fn is_zero(bytes: &Value) -> bool {
    bytes
        .as_array()
        .expect("a digest is bytes")
        .iter()
        .all(|byte| *byte == 0)
}

#[test]
fn the_longest_id_there_can_be_is_listed() {
    const LONGEST: usize = 65_535;
    need!(namespace::enter_new());
    let echo = Echo::start();
    let setup = Setup::new()
        .backend("echo", echo.address)
        .with_kernel(need!(Pins::new()));
    // The packet around such an id is larger than the default allows.
    let setup = setup.limits(r#"connect_packet = "128KiB""#);
    let daemon = setup.start();
    let ids = ["a", "b"].map(|last| "x".repeat(LONGEST - 1) + last);

    let _clients = ids.map(|id| Client::open(daemon.address(), &Connect::new(Version::V5, &id)));

    let listed = setup.pins().dump("CLIENTS");
    assert_eq!(listed.len(), 2);
    assert!(
        listed
            .iter()
            .all(|entry| entry.value["id_bytes"] == LONGEST),
        "{listed:?}"
    );
}

#[test]
fn clients_without_an_id_are_distinct() {
    let ground = need!(Ground::new());

    let clients: Vec<Client> = (0..5).map(|_| ground.open(Version::V3_1_1, "")).collect();

    let listed = ground.clients();
    assert_eq!(listed.len(), 5);
    assert!(
        listed
            .iter()
            .all(|entry| entry.key["id"] == "" && !is_zero(&entry.key["digest"]))
    );
    drop(clients);
    ground.until_clients(0);
}

#[test]
fn a_client_is_listed_under_the_id_and_with_the_keep_alive_its_broker_gave_it() {
    need!(namespace::enter_new());
    let mut properties = vec![0x12];
    properties.extend(wire::text("auto-7"));
    properties.extend([0x13, 0, 20]);
    let broker = Broker::start(move |mut stream| {
        broker::accept_with(&mut stream, &properties);
        wire::read_packet(&mut stream).expect_err("the client goes");
    });
    let setup = Setup::new()
        .backend("a", broker.address())
        .with_kernel(need!(Pins::new()));
    let daemon = setup.start();

    let client = Client::open(daemon.address(), &Connect::new(Version::V5, ""));

    assert_eq!(setup.pins().client("auto-7")["keep_alive"], 20);
    drop(client);
    wait::until("it is forgotten", || {
        setup.pins().dump("CLIENTS").is_empty()
    });
}

#[test]
fn an_id_that_connects_again_before_it_has_gone_stays_listed_once() {
    let ground = need!(Ground::new());

    let first = ground.open(Version::V5, "twin");
    let second = ground.open(Version::V5, "twin");
    let port = second.0.local_addr().expect("it is connected").port();
    drop(first);
    wait::until("the first has gone", || ground.daemon.connections() == 1);

    assert_eq!(ground.setup.pins().client("twin")["port"], port);
    drop(second);
    ground.until_clients(0);
}

#[test]
fn a_client_that_its_broker_refused_is_not_listed() {
    need!(namespace::enter_new());
    let strict = Broker::start(|mut stream| {
        wire::read_packet(&mut stream).expect("a CONNECT comes");
        std::io::Write::write_all(&mut stream, &wire::connack(4, 5, &[]))
            .expect("the daemon reads");
        // Until the client has gone the session lives, and must not be in the table.
        wire::read_packet(&mut stream).expect_err("the client goes");
    });
    let setup = Setup::new()
        .backend("a", strict.address())
        .with_kernel(need!(Pins::new()));
    let daemon = setup.start();

    let mut client = Client::dial(daemon.address());
    client.send(&Connect::new(Version::V3_1_1, "stranger").bytes());
    assert_eq!(client.packet(), wire::connack(4, 5, &[]));

    assert_eq!(setup.pins().dump("CLIENTS"), []);
}

#[test]
fn a_full_table_turns_nobody_away() {
    need!(namespace::enter_new());
    let echo = Echo::start();
    let setup = Setup::new()
        .backend("echo", echo.address)
        .backend("idle", refusing());
    let setup = setup
        .with_kernel(need!(Pins::new()))
        .kernel("clients_capacity = 2");
    let daemon = setup.start();

    let mut clients: Vec<Client> = (0..4)
        .map(|n| {
            Client::open(
                daemon.address(),
                &Connect::new(Version::V5, &format!("c{n}")),
            )
        })
        .collect();

    for client in &mut clients {
        client.send(b"served");
        assert_eq!(client.bytes(6), b"served");
    }
    assert_eq!(setup.pins().dump("CLIENTS").len(), 2);
    assert_eq!(daemon.status()["kernel"]["unlisted"], 2);
    assert_eq!(daemon.connections(), 4);
}
