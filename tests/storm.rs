//! A reconnect storm: one of three brokers is killed, and all its clients come back at once.

#![cfg(test)]

use std::io::{ErrorKind, Read as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, ScopedJoinHandle};
use std::time::Duration;
#[expect(clippy::disallowed_types, reason = "what a rate is about is real time")]
use std::time::Instant;

use harness::bed::{Bed, Family};
use harness::bpftool::Pins;
use harness::client::Client;
use harness::daemon::Daemon;
use harness::mosquitto::Mosquitto;
use harness::need;
use harness::setup::Setup;
use harness::shape::Shape;
use harness::wait;
use harness::wire::{Connect, Version};

const CLIENTS: usize = 5_000;
/// Threads that the clients share.
const THREADS: usize = 8;
const BROKERS: [&str; 3] = ["one", "two", "three"];
/// CONNECTs a second, of each broker.
const RATE: u32 = 500;
/// Between two looks at what has been let in.
const LOOK: Duration = Duration::from_millis(50);
/// Before a client that was turned away comes again.
const AGAIN: Duration = Duration::from_millis(300);

const PINGREQ: [u8; 2] = [0xC0, 0];
const PINGRESP: u8 = 0xD0;

fn introduction(n: usize) -> Connect {
    Connect::new(Version::ALL[n % Version::ALL.len()], &format!("device-{n}"))
}

/// Clients that come at once, each with its number; those that are turned away come again.
fn come(bed: &Bed, mut numbers: Vec<usize>) -> Vec<(usize, Client)> {
    let mut accepted = Vec::new();
    while !numbers.is_empty() {
        let dial = |n: usize| {
            let mut client = bed.dial(Shape::default());
            client.send(&introduction(n).bytes());
            (n, client)
        };
        let coming: Vec<_> = numbers.drain(..).map(dial).collect();
        for (n, mut client) in coming {
            if client.packet()[3] == 0 {
                accepted.push((n, client));
            } else {
                numbers.push(n);
            }
        }
        if !numbers.is_empty() {
            thread::sleep(AGAIN);
        }
    }
    accepted
}

/// Whether nobody has ended the connection of a client that does not talk.
fn is_open(client: &mut Client) -> bool {
    client.0.set_nonblocking(true).expect("it is a socket");
    let read = client.0.read(&mut [0; 16]);
    client.0.set_nonblocking(false).expect("it is a socket");
    matches!(read, Err(error) if error.kind() == ErrorKind::WouldBlock)
}

fn is_answered(client: &mut Client) -> bool {
    client.send(&PINGREQ);
    client.packet()[0] == PINGRESP
}

fn joined<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().expect("a thread ends well")
}

/// How many clients the two brokers that are left have been sent, looked at again and again.
#[expect(clippy::disallowed_types, reason = "as above")]
fn watch(daemon: &Daemon, is_over: &AtomicBool) -> Vec<(Instant, Instant, u64)> {
    let mut looks = Vec::new();
    while !is_over.load(Ordering::SeqCst) {
        let before = Instant::now();
        let opened = BROKERS[1..]
            .iter()
            .map(|name| daemon.backend(name)["opened"].as_u64().expect("a number"));
        let opened = opened.sum();
        looks.push((before, Instant::now(), opened));
        thread::sleep(LOOK);
    }
    looks
}

/// In no time were there more than the two rates and their bursts allow.
#[expect(clippy::disallowed_types, reason = "as above")]
fn keeps_to_the_rate(looks: &[(Instant, Instant, u64)]) {
    let rate = 2.0 * f64::from(RATE);
    for (n, (first, _, few)) in looks.iter().enumerate() {
        for (_, last, many) in &looks[n..] {
            // A tenth of a second of tokens may be there at once, and CONNECTs that have been sent
            // may take a moment until they are counted.
            let time = (*last - *first).as_secs_f64() + 0.1 + 0.25;
            let count = f64::from(u32::try_from(many - few).expect("there are few"));
            assert!(count <= rate * time + 2.0, "{count} in {time} s");
        }
    }
}

fn storm(datapath: &str) -> Result<(), String> {
    let mut bed = Bed::new(Family::V4)?;
    let at = bed.family.broker().ip();
    let mut brokers = Vec::new();
    let mut setup = Setup::new()
        .bind(&[bed.family.balancer()])
        .with_kernel(Pins::new()?)
        .kernel(r#"interfaces = ["clients", "brokers"]"#)
        .listener(&format!("datapath = {datapath:?}"))
        .limits(r#"queue_timeout = "10s""#)
        // All clients come from one address.
        .limits("pending_connects = 6000")
        .limits("pending_connects_per_source = 6000");
    for name in BROKERS {
        let broker = bed.topology.broker.run(|| Mosquitto::start_at(name, at))?;
        setup = setup
            .backend(name, broker.address)
            .of_backend(&format!(r#"connect_rate = "{RATE}/s""#));
        brokers.push(broker);
    }
    bed.setup = setup;
    let daemon = bed.start();

    let shares: Vec<Vec<usize>> = (0..THREADS)
        .map(|thread| (thread..CLIENTS).step_by(THREADS).collect())
        .collect();
    let mut clients: Vec<Vec<(usize, Client)>> = thread::scope(|scope| {
        let threads: Vec<_> = shares
            .into_iter()
            .map(|numbers| scope.spawn(|| come(&bed, numbers)))
            .collect();
        threads.into_iter().map(joined).collect()
    });
    wait::until("all have a session", || {
        daemon.connections() == CLIENTS as u64
    });
    let orphans = daemon.backend("one")["connections"].as_u64();
    let orphans = usize::try_from(orphans.expect("a number")).expect("it is small");
    assert!(orphans > CLIENTS / 4, "{orphans} clients of the first");

    brokers[0].kill();
    let (is_over, bed, daemon) = (AtomicBool::new(false), &bed, &daemon);
    let looks = thread::scope(|scope| {
        let watch = scope.spawn(|| watch(daemon, &is_over));
        let threads: Vec<_> = clients
            .iter_mut()
            .map(|share| scope.spawn(|| come_back(bed, share)))
            .collect();
        let lost: usize = threads.into_iter().map(joined).sum();
        is_over.store(true, Ordering::SeqCst);
        assert_eq!(
            lost, orphans,
            "only clients of the dead broker were cut off"
        );
        joined(watch)
    });

    keeps_to_the_rate(&looks);
    for (_, client) in clients.iter_mut().flatten() {
        assert!(is_answered(client));
    }
    only_for_the_rate(daemon);
    Ok(())
}

/// Waits until all that is to end has ended, and brings those clients back; tells how many they were.
fn come_back(bed: &Bed, share: &mut Vec<(usize, Client)>) -> usize {
    let mut lost = Vec::new();
    // Resets of a killed broker come within a moment; whoever is found late comes back all the same.
    let mut quiet = 0;
    while quiet < 20 {
        let gone: Vec<usize> = share
            .extract_if(.., |(_, client)| !is_open(client))
            .map(|(n, _)| n)
            .collect();
        quiet = if gone.is_empty() { quiet + 1 } else { 0 };
        lost.extend(gone);
        thread::sleep(LOOK);
    }
    let count = lost.len();
    share.extend(come(bed, lost));
    count
}

/// Whoever was turned away came too fast.
fn only_for_the_rate(daemon: &Daemon) {
    let status = daemon.status();
    let refused = status["refused"].as_array().expect("there is a list");
    for refused in refused {
        let is_policy = refused["reason"] == "backend_rate";
        assert!(is_policy || refused["count"] == 0, "{refused}");
    }
}

#[test]
fn clients_of_a_killed_broker_are_let_in_at_the_rate_by_splice() {
    need!(storm("auto"));
}

#[test]
fn clients_of_a_killed_broker_are_let_in_at_the_rate_by_copy() {
    need!(storm("copy"));
}
