//! Clients that come back to the broker that has their session.

#![cfg(test)]

mod outages;

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use harness::bed::{Bed, COPY, Family};
use harness::bpftool::Pins;
use harness::client::Client;
use harness::daemon::Daemon;
use harness::echo::Echo;
use harness::mosquitto::Mosquitto;
use harness::need;
use harness::setup::Setup;
use harness::shape::Shape;
use harness::wait;
use harness::wire::{self, Connect, Version};

fn persistent(id: &str) -> Connect {
    Connect::new(Version::V3_1_1, id).keep_session()
}

fn two() -> [Echo; 2] {
    [Echo::start(), Echo::start()]
}

/// Turns, which give a client that is not remembered another backend each time.
fn sticky(setup: Setup, brokers: &[Echo], lines: &str) -> Setup {
    let setup = setup.pool(r#"balance = "round_robin""#);
    let backends = brokers.iter().enumerate();
    backends
        .fold(setup, |setup, (n, broker)| {
            setup.backend(&format!("broker-{n}"), broker.address)
        })
        .with(&format!("[pools.sticky]\n{lines}"))
}

fn opened(daemon: &Daemon) -> Vec<u64> {
    let status = daemon.status();
    let backends = status["backends"].as_array().expect("there is a list");
    let each = backends.iter().map(|backend| backend["opened"].as_u64());
    each.map(|opened| opened.expect("it counts")).collect()
}

/// The backend that a client gets, and its connection.
fn home(daemon: &Daemon, open: impl FnOnce() -> Client) -> (usize, Client) {
    let before = opened(daemon);
    let client = open();
    let after = opened(daemon);
    let grown = before.iter().zip(&after).position(|(a, b)| a != b);
    (grown.expect("one of them was opened"), client)
}

fn homes(daemon: &Daemon, connects: &[Connect]) -> Vec<usize> {
    let open = |connect| home(daemon, || Client::open(daemon.address(), connect)).0;
    connects.iter().map(open).collect()
}

fn counted(daemon: &Daemon, what: &str) -> u64 {
    daemon.status()["sticky"][what].as_u64().expect("it counts")
}

#[test]
fn persistent_clients_come_back_and_clean_ones_take_turns() {
    let brokers = two();
    let daemon = sticky(Setup::new(), &brokers, "").start();
    let with_expiry = Connect::new(Version::V5, "v5").with_everything();
    let without = Connect::new(Version::V5, "brief").keep_session();
    let long = "x".repeat(30_000);
    let ids = ["a", "b", &format!("{long}1"), &format!("{long}2")];
    let mut connects: Vec<Connect> = ids.iter().map(|id| persistent(id)).collect();
    connects.push(with_expiry);

    let first = homes(&daemon, &connects);
    assert_eq!(first, [0, 1, 0, 1, 0]);
    connects.reverse();
    for _ in 0..2 {
        let again = homes(&daemon, &connects);
        assert!(again.iter().eq(first.iter().rev()), "{again:?}");
    }
    assert_eq!(counted(&daemon, "learned"), 15);

    let clean = [Connect::new(Version::V3_1_1, "clean"), without];
    for connect in clean {
        let each = homes(&daemon, &[connect.clone(), connect.clone(), connect]);
        assert_eq!(each[0], each[2]);
        assert_ne!(each[0], each[1]);
    }
    assert_eq!(counted(&daemon, "followed"), 10);
}

#[test]
fn a_client_that_gives_its_session_up_does_so_where_it_is() {
    let brokers = two();
    let daemon = sticky(Setup::new(), &brokers, "").start();
    let clean = Connect::new(Version::V3_1_1, "a");

    let each = homes(&daemon, &[persistent("a"), clean.clone(), persistent("a")]);

    // The second went to where the session was, which ends the memory; the third takes its turn.
    assert_eq!(each, [0, 0, 1]);
    assert_eq!(homes(&daemon, &[clean]), [1]);
}

#[test]
fn every_client_is_remembered_where_that_is_wanted() {
    let brokers = two();
    let daemon = sticky(Setup::new(), &brokers, "persistent_only = false").start();
    let clean = |id| Connect::new(Version::V5, id);

    let each = homes(&daemon, &[clean("a"), clean("b"), clean("b"), clean("a")]);

    assert_eq!(each, [0, 1, 1, 0]);
}

#[test]
fn an_id_that_a_broker_assigned_leads_back_to_it() {
    let brokers = [
        need!(Mosquitto::start("broker-0")),
        need!(Mosquitto::start("broker-1")),
    ];
    let setup = Setup::new().pool(r#"balance = "round_robin""#);
    let daemon = brokers
        .iter()
        .fold(setup, |setup, broker| {
            setup.backend(&broker.name, broker.address)
        })
        .with("[pools.sticky]")
        .start();
    let come = |id: &str| {
        let connect = Connect::new(Version::V5, id).keep_session();
        let mut client = Client::dial(daemon.address());
        client.send(&connect.session_expiry(600).bytes());
        client.packet()
    };
    for _ in 0..3 {
        let assigned = wire::assigned_id(&come("")).expect("it has an id now");
        for _ in 0..3 {
            let again = come(&assigned);
            assert_eq!(again[2..4], [1, 0], "its session is there: {again:?}");
        }
    }
    assert_eq!(counted(&daemon, "followed"), 9);
}

#[test]
fn a_client_of_a_full_broker_is_served_elsewhere_for_this_once() {
    let brokers = two();
    let daemon = Setup::new()
        .pool(r#"balance = "first""#)
        .backend("small", brokers[0].address)
        .of_backend("max_connections = 1")
        .backend("large", brokers[1].address)
        .with("[pools.sticky]")
        .start();
    let is_free = || daemon.backend("small")["connections"] == 0;
    assert_eq!(homes(&daemon, &[persistent("a")]), [0]);
    wait::until("it has left", is_free);
    let guest = Client::open(daemon.address(), &Connect::new(Version::V5, "guest"));

    assert_eq!(homes(&daemon, &[persistent("a"), persistent("a")]), [1, 1]);

    drop(guest);
    wait::until("there is room again", is_free);
    assert_eq!(homes(&daemon, &[persistent("a")]), [0]);
    wait::until("it is counted, once", || counted(&daemon, "entries") == 1);
}

#[test]
fn time_to_forget_begins_when_the_session_ends() {
    const EXPIRE: Duration = Duration::from_secs(1);
    let brokers = two();
    let daemon = sticky(Setup::new(), &brokers, r#"expire = "1s""#).start();
    let client = Client::open(daemon.address(), &persistent("a"));
    thread::sleep(3 * EXPIRE);
    assert_eq!(counted(&daemon, "entries"), 1);

    drop(client);

    wait::until("it is forgotten", || counted(&daemon, "entries") == 0);
}

#[test]
fn the_table_survives_a_crash_and_can_be_read() {
    let brokers = two();
    let pins = need!(Pins::new());
    let setup = sticky(Setup::new().with_kernel(pins), &brokers, "");
    let mut daemon = setup.start();
    let ids: Vec<Connect> = (0..9).map(|n| persistent(&format!("device-{n}"))).collect();
    let before = homes(&daemon, &ids);

    daemon.kill();
    let daemon = setup.start();

    let mut backwards = ids;
    backwards.reverse();
    assert!(homes(&daemon, &backwards).iter().eq(before.iter().rev()));
    let rows = setup.pins().dump("STICKY");
    assert_eq!(rows.len(), 9);
    let row = rows
        .iter()
        .find(|row| row.key["client"]["id"] == "device-1")
        .expect("text is printed as text");
    assert_eq!(row.value["backend"], "broker-1");
}

#[test]
fn clients_without_room_are_served_all_the_same() {
    let brokers = two();
    let pins = need!(Pins::new());
    let setup = Setup::new()
        .with_kernel(pins)
        .kernel("sticky_capacity = 10");
    let daemon = sticky(setup, &brokers, "").start();

    let ids: Vec<Connect> = (0..12).map(|n| persistent(&format!("{n}"))).collect();
    assert_eq!(homes(&daemon, &ids), [0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1]);

    assert_eq!(counted(&daemon, "learned"), 10);
    assert_eq!(counted(&daemon, "full"), 2);
    // What has ended first makes room.
    wait::until("there is room", || counted(&daemon, "entries") == 9);
    homes(&daemon, &[persistent("late")]);
    assert_eq!(counted(&daemon, "learned"), 11);
}

#[test]
fn spliced_clients_come_back_after_an_outage_of_the_daemon() {
    for family in Family::BOTH {
        let mut bed = need!(Bed::new(family));
        let at = |port| SocketAddr::new(family.broker().ip(), port);
        let echo = |port| bed.topology.broker.run(|| Echo::start_at(at(port)));
        let brokers = [echo(1001), echo(1002)];
        let setup = Setup::new()
            .bind(&[family.balancer()])
            .with_kernel(need!(Pins::new()))
            .kernel(r#"interfaces = ["clients", "brokers"]"#);
        bed.setup = sticky(setup, &brokers, r#"expire = "2s""#);
        let mut daemon = bed.start();
        let open = |id| bed.introduce(Shape::default(), &persistent(id));
        let (at_first, first) = home(&daemon, || open("a"));
        let (at_second, second) = home(&daemon, || open("b"));
        assert_eq!((at_first, at_second), (0, 1));
        bed.until_spliced(2);

        daemon.kill();
        let daemon = bed.start();
        // One that is open is remembered for however long.
        thread::sleep(Duration::from_secs(4));
        assert_eq!(counted(&daemon, "entries"), 2);
        drop((first, second));

        let (at_second, second) = home(&daemon, || open("b"));
        let (at_first, first) = home(&daemon, || open("a"));
        assert_eq!((at_first, at_second), (0, 1), "{family:?}");
        drop((first, second));
        wait::until("they are forgotten", || counted(&daemon, "entries") == 0);
    }
}

/// The answer to a CONNECT: whether the broker had a session, or why not.
fn answer(bed: &Bed, port: u16, connect: &Connect) -> (Client, Vec<u8>) {
    let address = SocketAddr::new(bed.family.balancer().ip(), port);
    let stream = bed.topology.client.run(|| Shape::default().dial(address));
    let mut client = Client::over(stream);
    client.send(&connect.bytes());
    let connack = client.packet();
    (client, connack)
}

#[test]
fn a_stored_session_is_found_again_after_a_reload_and_a_short_outage() {
    const HOLD: Duration = Duration::from_secs(1);
    // The first of these listeners is spliced, the second copies.
    for port in [1883, 1884] {
        let mut bed = need!(Bed::new(Family::V4));
        let start = |name| {
            let ip = bed.family.broker().ip();
            bed.topology.broker.run(|| Mosquitto::start_at(name, ip))
        };
        let mut brokers = [need!(start("broker-0")), need!(start("broker-1"))];
        bed.setup = brokers
            .iter()
            .fold(
                Setup::new().bind(&[bed.family.balancer()]),
                |setup, broker| setup.backend(&broker.name, broker.address),
            )
            .pool(r#"balance = "first""#)
            .with("[pools.sticky]\nhold = \"1s\"")
            .with_kernel(need!(Pins::new()))
            .kernel(r#"interfaces = ["clients", "brokers"]"#)
            .more(COPY);
        let daemon = bed.start();
        let (new, stored, away) = ([0x20, 2, 0, 0], [0x20, 2, 1, 0], [0x20, 2, 0, 3]);
        let come = |answer_is: [u8; 4]| {
            let before = opened(&daemon);
            let (client, connack) = answer(&bed, port, &persistent("sleeper"));
            assert_eq!(connack, answer_is, "{port}: {}", daemon.log());
            let after = opened(&daemon);
            (client, before.iter().zip(&after).position(|(a, b)| a != b))
        };
        let (mut client, home) = come(new);
        assert_eq!(home, Some(0));
        if port == 1883 {
            bed.until_spliced(1);
        }
        client.send(&wire::subscribe(Version::V3_1_1, "inbox"));
        assert_eq!(client.packet()[0], wire::SUBACK);
        drop(client);

        // By the file, it would go elsewhere from now on.
        let text = bed.setup.config();
        bed.setup.write_text(&text.replace(
            "name = \"broker-0\"",
            "name = \"broker-0\"\nweight = 1\nbackup = true",
        ));
        daemon.reload();
        assert_eq!(come(stored).1, Some(0));

        brokers[0].stop();
        assert_eq!(come(away).1, None);
        bed.topology.broker.run(|| brokers[0].restart());
        assert_eq!(come(stored).1, Some(0));

        brokers[0].stop();
        assert_eq!(come(away).1, None);
        thread::sleep(HOLD);
        assert_eq!(come(new).1, Some(1));
        bed.topology.broker.run(|| brokers[0].restart());
        assert_eq!(come(stored).1, Some(1));
    }
}
