//! What clients find out, and those after them need not.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use harness::broker::{self, Broker};
use harness::client::Client;
use harness::daemon::Daemon;
use harness::echo::Echo;
use harness::setup::Setup;
use harness::wire::{self, Connect, Version};

use super::checked;

fn impatient() -> Setup {
    checked("none")
        .pool(r#"dial_timeout = "300ms""#)
        .pool(r#"connack_timeout = "300ms""#)
}

/// A broker that takes connections and says nothing while it is `asleep`.
fn sleepy(asleep: &Arc<AtomicBool>) -> Broker {
    let asleep = Arc::clone(asleep);
    Broker::start(move |mut stream| {
        let Ok(connect) = wire::read_packet(&mut stream) else {
            return;
        };
        if !asleep.load(Ordering::SeqCst) {
            let connack = wire::connack(wire::level(&connect), 0, &[]);
            stream.write_all(&connack).ok();
        }
        wire::read_packet(&mut stream).ok();
    })
}

fn open(daemon: &Daemon, count: usize) {
    for n in 0..count {
        let connect = Connect::new(Version::V3_1_1, &format!("client-{n}"));
        Client::open(daemon.address(), &connect);
    }
}

#[test]
fn a_broker_that_is_silent_gets_no_more_clients_than_it_takes_to_know() {
    let asleep = Arc::new(AtomicBool::new(true));
    let (half_dead, good) = (sleepy(&asleep), Echo::start());
    let daemon = impatient()
        .backend("half-dead", half_dead.address())
        .backend("good", good.address)
        .start();

    open(&daemon, 20);

    assert_eq!(half_dead.accepted(), 3);
    assert_eq!(daemon.passed_over("half-dead", "silent"), 3);
    let backend = daemon.backend("half-dead");
    assert_eq!(backend["state"], "down");
    let trouble = backend["trouble"].to_string();
    assert!(trouble.contains("silent"), "{trouble}");
}

#[test]
fn a_tcp_check_does_not_bring_back_a_broker_that_is_silent() {
    let asleep = Arc::new(AtomicBool::new(true));
    let (half_dead, good) = (sleepy(&asleep), Echo::start());
    let daemon = impatient()
        .health(r#"check = "tcp""#)
        .backend("half-dead", half_dead.address())
        .backend("good", good.address)
        .start();

    open(&daemon, 20);

    assert_eq!(daemon.passed_over("half-dead", "silent"), 3);
    assert_eq!(daemon.backend("half-dead")["state"], "down");
}

#[test]
fn one_client_tries_a_failing_broker_and_the_others_follow_it() {
    let asleep = Arc::new(AtomicBool::new(true));
    let (sleepy, good) = (sleepy(&asleep), Echo::start());
    let daemon = impatient()
        .health(r#"fail_timeout = "1s""#)
        .backend("sleepy", sleepy.address())
        .backend("good", good.address)
        .start();
    open(&daemon, 6);
    daemon.until_backend_is("sleepy", "down");

    // It gets a trial, and fails that as well.
    daemon.until_backend_is("sleepy", "up");
    open(&daemon, 2);
    daemon.until_backend_is("sleepy", "down");
    assert_eq!(daemon.passed_over("sleepy", "silent"), 4);

    asleep.store(false, Ordering::SeqCst);
    daemon.until_backend_is("sleepy", "up");
    open(&daemon, 8);
    assert_eq!(daemon.backend("sleepy")["opened"], 4);
    assert_eq!(daemon.passed_over("sleepy", "silent"), 4);
    assert!(daemon.backend("sleepy")["trouble"].is_null());
}

#[test]
fn where_clients_alone_doubt_every_broker_the_next_client_tries_all_the_same() {
    let asleep = Arc::new(AtomicBool::new(true));
    let sleepy = sleepy(&asleep);
    let daemon = impatient()
        .health(r#"fail_timeout = "1h""#)
        .backend("sleepy", sleepy.address())
        .backend("refusing", broker::refusing())
        .start();
    for n in 0..3 {
        let mut client = Client::dial(daemon.address());
        client.send(&Connect::new(Version::V3_1_1, &format!("early-{n}")).bytes());
        assert_eq!(client.rest(), wire::connack(4, 3, &[]));
    }
    daemon.until_backend_is("sleepy", "down");
    daemon.until_backend_is("refusing", "down");

    asleep.store(false, Ordering::SeqCst);
    open(&daemon, 1);

    // That settles it.
    assert_eq!(daemon.backend("sleepy")["state"], "up");
    assert_eq!(daemon.backend("refusing")["state"], "down");
}

#[test]
fn a_client_that_brokers_hang_up_on_does_not_take_them_from_others() {
    let dropping: Vec<Broker> = (0..2)
        .map(|_| {
            Broker::start(|mut stream| {
                let Ok(connect) = wire::read_packet(&mut stream) else {
                    return;
                };
                if !connect.ends_with(b"poison") {
                    let connack = wire::connack(wire::level(&connect), 0, &[]);
                    stream.write_all(&connack).ok();
                    wire::read_packet(&mut stream).ok();
                }
            })
        })
        .collect();
    let daemon = impatient()
        .backend("a", dropping[0].address())
        .backend("b", dropping[1].address())
        .start();

    for _ in 0..10 {
        let mut client = Client::dial(daemon.address());
        client.send(&Connect::new(Version::V3_1_1, "poison").bytes());
        assert_eq!(client.rest(), wire::connack(4, 3, &[]));
    }

    assert_eq!(daemon.passed_over("a", "lost"), 10);
    for name in ["a", "b"] {
        assert_eq!(daemon.backend(name)["state"], "up");
    }
    open(&daemon, 2);
}
