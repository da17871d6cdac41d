//! A restart during which nobody who connects is turned away: a service manager keeps the sockets.

#![cfg(test)]

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;

use harness::bed::{Bed, Family};
use harness::client::Client;
use harness::echo::Echo;
use harness::setup::Setup;
use harness::storm::Storm;
use harness::talk::Talk;
use harness::wire::{Connect, Version};
use harness::{need, sockets, wait, wire};
use serde_json::Value;

/// Clients in a second.
const RATE: u32 = 200;

fn downgrades(status: &Value) -> String {
    status["downgrades"].to_string()
}

#[test]
fn a_restart_turns_nobody_away_and_leaves_the_spliced_alone() {
    for family in Family::BOTH {
        let mut bed = need!(Bed::new(family));
        let (setup, service) = bed.setup.clone().by_service();
        bed.setup = setup;
        let broker = family.broker();
        let _echo = bed.topology.broker.run(|| Echo::start_at(broker));
        let mut daemon = bed.start();
        service.until_told("READY=1");
        assert_eq!(service.kept(), 2, "one socket for each of two threads");
        let talk = Talk::start((0..20).map(|n| bed.open(&format!("old-{n}"))).collect());
        talk.until_all_answered();
        bed.until_spliced(20);

        let bed = Arc::new(bed);
        let coming = Arc::clone(&bed);
        let storm = Storm::start(RATE, move |id| drop(coming.open(id)));
        for threads in ["threads = 3", "threads = 1"] {
            storm.until_more(40);
            assert!(daemon.terminate().success());
            service.until_told("STOPPING=1");
            let next = bed.setup.clone().daemon(threads);
            daemon = bed.topology.balancer.run(|| next.start());
            service.until_told("READY=1");
        }
        storm.until_more(40);
        storm.end();
        talk.until_all_answered();

        assert_eq!(service.kept(), 3, "one more for the third thread");
        drop(talk.end());
        bed.until_forgotten();
        assert_eq!(downgrades(&daemon.status()), "[]");
    }
}

#[test]
fn sockets_of_a_unit_are_used_and_strangers_among_them_are_named() {
    let echo = Echo::start();
    let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let unit = TcpListener::bind(local(0)).expect("there is a port");
    let stranger = TcpListener::bind(local(0)).expect("there is a port");
    let strange = stranger.local_addr().expect("it is bound");
    let address = unit.local_addr().expect("it is bound");
    let (setup, service) = Setup::new()
        .bind(&[address])
        .backend("echo", echo.address)
        .by_service();
    service.keep(unit);
    service.keep(stranger);
    service.keep(std::net::UdpSocket::bind(local(0)).expect("there is a port"));
    // It is in the queue before there is a daemon.
    let mut early = Client::dial(address);

    let mut daemon = setup.start();

    early.introduce(&Connect::new(Version::V5, "early"));
    // A unit's socket cannot be shared: both threads have the same one.
    let clients: Vec<Client> = (0..8)
        .map(|n| Client::open(address, &Connect::new(Version::V5, &format!("c-{n}"))))
        .collect();
    let told = downgrades(&daemon.status());
    assert!(
        told.contains(&format!("{strange} that was passed is that of no listener")),
        "{told}"
    );
    assert!(told.contains("is no listening TCP socket"), "{told}");
    drop(clients);
    assert!(daemon.terminate().success());
    service.until_told("STOPPING=1");
}

#[test]
fn the_store_follows_a_reload() {
    let echo = Echo::start();
    let (setup, service) = Setup::new().backend("echo", echo.address).by_service();
    let daemon = setup.start();
    service.until_told("READY=1");
    assert_eq!(service.kept(), 4, "two addresses, two threads");
    let one = daemon.address_v6();
    let both = setup.config();
    let first = daemon.address();

    setup.write_text(&both.replace(&format!("\"{first}\", "), ""));
    daemon.reload();
    service.until_told("READY=1");
    assert_eq!(service.kept(), 2);
    // The store has let go of it, and so has the daemon.
    wait::until("nobody listens by IPv4", || {
        std::net::TcpStream::connect(first).is_err()
    });
    drop(Client::open(one, &Connect::new(Version::V5, "six")));
    setup.write_text(&both);
    daemon.reload();
    service.until_told("READY=1");
    assert_eq!(service.kept(), 4);
    assert!(sockets::listening().contains(&first.port()));
}

#[test]
fn whoever_is_on_the_way_to_a_broker_when_the_daemon_stops_gets_there() {
    let bed = need!(Bed::new(Family::V4));
    let broker = bed.family.broker();
    let _echo = bed.topology.broker.run(|| Echo::start_at(broker));
    let mut daemon = bed.start();
    let mut late: Vec<Client> = (0..20)
        .map(|_| bed.dial(harness::shape::Shape::default()))
        .collect();

    for (n, client) in late.iter_mut().enumerate() {
        client.send(&Connect::new(Version::V5, &format!("late-{n}")).bytes());
    }
    assert!(daemon.terminate().success());

    for client in &mut late {
        let connack = client.packet();
        assert_eq!((connack[0], connack[3]), (wire::CONNACK, 0));
    }
    let talk = Talk::start(late);
    talk.until_all_answered();
    bed.until_spliced(20);
}
