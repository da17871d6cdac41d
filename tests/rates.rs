//! How fast clients are let in, and what those hear who are turned away.

#![cfg(test)]

use std::io::Write as _;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
#[expect(clippy::disallowed_types, reason = "what a rate is about is real time")]
use std::time::Instant;

use harness::broker::{self, Broker};
use harness::client::Client;
use harness::daemon::Daemon;
use harness::echo::Echo;
use harness::setup::Setup;
use harness::wait;
use harness::wire::{self, Connect, Version};

const RATE_EXCEEDED: u8 = 0x9f;

/// When CONNECTs came.
#[derive(Clone, Default)]
struct Diary(Arc<Mutex<Vec<Duration>>>);

impl Diary {
    /// A broker that accepts and writes down when.
    fn broker(&self) -> Broker {
        let diary = self.clone();
        #[expect(clippy::disallowed_types, reason = "as above")]
        let begin = Instant::now();
        Broker::start(move |mut stream| {
            let connect = wire::read_packet(&mut stream).expect("a CONNECT comes");
            diary.0.lock().expect("nobody panics").push(begin.elapsed());
            let connack = wire::connack(wire::level(&connect), 0, &[]);
            stream.write_all(&connack).expect("the daemon reads");
            // Until the client has gone.
            drop(wire::read_packet(&mut stream));
        })
    }

    /// In no time were there more than rate and burst allow.
    fn keeps_to(&self, a_second: f64, burst: f64) {
        let mut times = self.0.lock().expect("nobody panics").clone();
        times.sort();
        for (first, begin) in times.iter().enumerate() {
            for (last, end) in times.iter().enumerate().skip(first) {
                // What the daemon sends in time, the broker may read late: allow for 250 ms of that.
                let time = (*end - *begin).as_secs_f64() + 0.25;
                let count = f64::from(u32::try_from(last - first + 1).expect("it is small"));
                let most = burst + time * a_second + 1.0;
                assert!(count <= most, "{count} in {time} s: {times:?}");
            }
        }
    }
}

/// Clients that come all at once, each with its CONNECT sent.
fn crowd(daemon: &Daemon, count: usize) -> Vec<Client> {
    let come = |n: usize| {
        let version = Version::ALL[n % Version::ALL.len()];
        let mut client = Client::dial(daemon.address());
        client.send(&Connect::new(version, &format!("device-{n}")).bytes());
        client
    };
    (0..count).map(come).collect()
}

/// How many were let in; the others have been told that they come too fast.
fn served(clients: Vec<Client>) -> usize {
    let is_served = |client: &mut Client| {
        let connack = client.packet();
        let refused = [3, RATE_EXCEEDED];
        assert!(
            connack[3] == 0 || refused.contains(&connack[3]),
            "{connack:?}"
        );
        connack[3] == 0
    };
    // Nobody goes before all have been answered.
    let mut clients = clients;
    clients
        .iter_mut()
        .map(is_served)
        .filter(|served| *served)
        .count()
}

#[test]
fn a_backend_is_sent_no_more_than_its_rate_and_nobody_is_refused() {
    const CLIENTS: usize = 90;
    let diary = Diary::default();
    let broker = diary.broker();
    let daemon = Setup::new()
        .limits(r#"queue_timeout = "10s""#)
        .backend("paced", broker.address())
        .of_backend(r#"connect_rate = "50/s""#)
        .start();

    assert_eq!(served(crowd(&daemon, CLIENTS)), CLIENTS);

    diary.keeps_to(50.0, 5.0);
    assert_eq!(daemon.refused("backend_rate"), 0);
}

#[test]
fn a_listener_lets_in_no_more_than_its_rate_and_refuses_the_rest_at_once() {
    const CLIENTS: usize = 200;
    let diary = Diary::default();
    let broker = diary.broker();
    let daemon = Setup::new()
        .limits(r#"queue_timeout = "1s""#)
        .listener(r#"connect_rate = "40/s""#)
        .backend("any", broker.address())
        .start();

    let served = served(crowd(&daemon, CLIENTS));

    diary.keeps_to(40.0, 4.0);
    // Four at once and forty in turn; on a slow machine the crowd takes longer to come.
    assert!((40..CLIENTS).contains(&served), "{served}");
    assert_eq!(daemon.refused("listener_rate"), (CLIENTS - served) as u64);
    assert_eq!(daemon.status()["listeners"][0]["waiting"], 0);
}

#[test]
fn a_dead_backend_uses_up_nobodys_turn() {
    let echo = Echo::start();
    let daemon = Setup::new()
        .pool(r#"balance = "round_robin""#)
        .limits(r#"queue_timeout = "2s""#)
        .backend("dead", broker::refusing())
        .of_backend(r#"connect_rate = "1/s""#)
        .backend("alive", echo.address)
        .start();

    // Each of them is to be tried at the dead one first or second, which lets in one a second.
    for n in 0..20 {
        let id = format!("device-{n}");
        Client::open(daemon.address(), &Connect::new(Version::V5, &id));
    }

    // After some failures it is asked last.
    let failed = daemon.status()["backends"][0]["failed"].as_u64();
    assert!(failed >= Some(3), "{failed:?}");
    assert_eq!(daemon.refused("backend_rate"), 0);
}

#[test]
fn whoever_leaves_the_queue_is_not_sent_to_a_broker() {
    let broker = Broker::start(|mut stream| {
        broker::accept(&mut stream);
        drop(wire::read_packet(&mut stream));
    });
    let daemon = Setup::new()
        .limits(r#"queue_timeout = "1h""#)
        .backend("slow", broker.address())
        .of_backend(r#"connect_rate = "10/h""#)
        .start();
    let _first = Client::open(daemon.address(), &Connect::new(Version::V5, "first"));
    let waiting = || daemon.status()["backends"][0]["waiting"].as_u64();

    let mut closes = Client::dial(daemon.address());
    closes.send(&Connect::new(Version::V5, "closes").bytes());
    wait::until("it waits", || waiting() == Some(1));
    drop(closes);
    wait::until("its place is free", || waiting() == Some(0));
    let mut resets = Client::dial(daemon.address());
    resets.send(&Connect::new(Version::V3_1_1, "resets").bytes());
    wait::until("it waits", || waiting() == Some(1));
    broker::reset(resets.0);
    wait::until("its place is free", || waiting() == Some(0));

    wait::until("they are counted", || daemon.refused("gave_up") == 2);
    assert_eq!(broker.accepted(), 1);
}

#[test]
fn a_device_in_a_loop_is_held_off_and_no_other() {
    let echo = Echo::start();
    let daemon = Setup::new()
        .backend("echo", echo.address)
        .limits(r#"connects_per_client = "3/h""#)
        .start();
    let come = |version, id: &str| {
        let mut client = Client::dial(daemon.address());
        client.send(&Connect::new(version, id).bytes());
        client.packet()
    };

    for _ in 0..3 {
        assert_eq!(come(Version::V5, "loop"), [0x20, 3, 0, 0, 0]);
    }
    for _ in 0..2 {
        assert_eq!(come(Version::V5, "loop"), [0x20, 3, 0, RATE_EXCEEDED, 0]);
        assert_eq!(come(Version::V3_1_1, "loop"), [0x20, 2, 0, 3]);
    }
    assert_eq!(come(Version::V5, "calm"), [0x20, 3, 0, 0, 0]);
    for _ in 0..5 {
        assert_eq!(come(Version::V3_1_1, ""), [0x20, 2, 0, 0]);
    }

    assert_eq!(daemon.refused("client_rate"), 4);
}

#[test]
fn what_is_the_fault_of_a_broker_is_not_held_against_a_device() {
    let is_up = Arc::new(AtomicBool::new(false));
    let state = Arc::clone(&is_up);
    let broker = Broker::start(move |mut stream: TcpStream| {
        if state.load(Ordering::SeqCst) {
            broker::accept(&mut stream);
            drop(wire::read_packet(&mut stream));
        }
    });
    let daemon = Setup::new()
        .backend("late", broker.address())
        .limits(r#"connects_per_client = "3/h""#)
        .start();

    for _ in 0..10 {
        let mut client = Client::dial(daemon.address());
        client.send(&Connect::new(Version::V3_1_1, "patient").bytes());
        assert_eq!(client.packet(), [0x20, 2, 0, 3]);
    }
    is_up.store(true, Ordering::SeqCst);

    Client::open(daemon.address(), &Connect::new(Version::V3_1_1, "patient"));
    assert_eq!(daemon.refused("no_backend"), 10);
}

#[test]
fn refused_clients_do_not_hold_descriptors_without_bound() {
    const OPEN_FILES: u32 = 300;
    let echo = Echo::start();
    let daemon = Setup::new()
        .backend("echo", echo.address)
        .limits("max_connections = 1")
        .open_files(OPEN_FILES)
        .start();
    let mut steady = Client::open(daemon.address(), &Connect::new(Version::V5, "steady"));
    let before = daemon.process.descriptors();

    // They read why, and stay: each would keep a descriptor for a second.
    let refused = crowd(&daemon, 250);
    let mut most = 0;
    wait::until("all are refused", || {
        most = most.max(daemon.process.descriptors());
        daemon.refused("max_connections") == 250
    });

    let hurried = daemon.status()["admission"]["hurried"].as_u64();
    assert!(hurried > Some(100), "{hurried:?}");
    // Nine are waited for; some are just being accepted.
    assert!(most < before + 100, "{before}, then {most}");
    steady.send(b"still here");
    assert_eq!(steady.bytes(10), b"still here");
    drop(refused);
    wait::until("all are closed", || daemon.process.descriptors() == before);
}
