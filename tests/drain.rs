//! A backend that is drained: at the ordered pace, idle clients first, over restarts, until it is
//! taken back.

#![cfg(test)]

use std::thread;
use std::time::Duration;

use harness::bed::{Bed, Family, From};
use harness::client::Client;
use harness::daemon::Daemon;
use harness::departures::{Departure, ended_by_now, until_ended};
use harness::echo::Echo;
use harness::need;
use harness::shape::Shape;
use harness::talk::{Talk, say};
use harness::wait;
use harness::wire::{Connect, Version};

const CONNECTIONS: usize = 2_000;
const THREADS: usize = 4;
/// Connections a second.
const PACE: u64 = 200;

const COPY: &str = r#"datapath = "copy""#;

/// A bed with an echo for a broker.
fn bed(family: Family, listener: Option<&str>) -> Result<(Bed, Echo, Daemon), String> {
    let mut bed = Bed::new(family)?;
    if let Some(line) = listener {
        bed.setup = bed.setup.listener(line);
    }
    let echo = bed.topology.broker.run(|| Echo::start_at(family.broker()));
    let daemon = bed.start();
    Ok((bed, echo, daemon))
}

fn open(bed: &Bed, count: usize, name: &str) -> Vec<Client> {
    (0..count)
        .map(|n| bed.open(&format!("{name}-{n}")))
        .collect()
}

fn open_many(bed: &Bed) -> Vec<Client> {
    thread::scope(|scope| {
        let open = |n: usize| open(bed, CONNECTIONS / THREADS, &format!("device-{n}"));
        let threads: Vec<_> = (0..THREADS).map(|n| scope.spawn(move || open(n))).collect();
        let join = |thread: thread::ScopedJoinHandle<'_, Vec<Client>>| {
            thread.join().expect("everybody is served")
        };
        threads.into_iter().flat_map(join).collect()
    })
}

fn state(bed: &Bed, daemon: &Daemon) -> String {
    let status = daemon.backend("broker");
    let record = bed.setup.pins().backend("broker").value;
    let number = match status["state"].as_str() {
        Some("up") => 1,
        Some("draining") => 3,
        Some("disabled") => 4,
        other => panic!("a backend is {other:?}"),
    };
    assert_eq!(record["state"], number, "{record}");
    status["state"].as_str().expect("it is text").to_owned()
}

fn evicted(daemon: &Daemon) -> u64 {
    let status = daemon.status();
    let evicted = status["evicted"].as_array().expect("there is a list");
    let drained = evicted
        .iter()
        .find(|evicted| evicted["reason"] == "drained");
    drained.expect("it is counted")["count"]
        .as_u64()
        .expect("it is a number")
}

/// Connections a second, of those in the middle: the first and the last tenth are left out.
fn pace(departures: &[Departure]) -> f64 {
    let (first, last) = (departures.len() / 10, departures.len() * 9 / 10);
    let time = departures[last].at - departures[first].at;
    f64::from(u32::try_from(last - first).expect("there are few")) / time.as_secs_f64()
}

/// Expects all to end at the pace, once each, and nothing to be left of them.
fn ends_at_the_pace(bed: &Bed, daemon: &Daemon, clients: Vec<Client>) -> Vec<Departure> {
    daemon.told(&["drain", "broker", "--rate", &format!("{PACE}/s")]);
    let departures = until_ended(&clients, CONNECTIONS);

    let mut each: Vec<usize> = departures.iter().map(|one| one.client).collect();
    each.sort_unstable();
    assert!(each.into_iter().eq(0..CONNECTIONS), "each ends once");
    let pace = pace(&departures);
    let wanted = f64::from(u32::try_from(PACE).expect("it is small"));
    assert!((0.9..=1.1).contains(&(pace / wanted)), "{pace} a second");
    drop(clients);
    bed.until_forgotten();
    assert_eq!(evicted(daemon), CONNECTIONS as u64);
    departures
}

#[test]
fn spliced_connections_are_reset_at_the_pace() {
    for family in Family::BOTH {
        let (bed, echo, daemon) = need!(bed(family, None));
        let clients = open_many(&bed);
        bed.until_spliced(CONNECTIONS);

        let departures = ends_at_the_pace(&bed, &daemon, clients);

        assert!(departures.iter().all(|one| one.was_reset));
        assert_eq!(state(&bed, &daemon), "draining");
        let ended = &daemon.status()["splice"]["ended"];
        let ended = ended.as_array().expect("there is a list");
        assert!(
            ended
                .iter()
                .any(|ended| ended["reason"] == "evicted" && ended["count"] == CONNECTIONS)
        );
        drop(echo);
    }
}

#[test]
fn copied_connections_are_closed_at_the_pace() {
    let (bed, _echo, daemon) = need!(bed(Family::V4, Some(COPY)));
    let clients = open_many(&bed);

    ends_at_the_pace(&bed, &daemon, clients);

    wait::until("the daemon has no socket of theirs", || {
        bed.topology.balancer.run(harness::sockets::connections) == 0
    });
}

#[test]
fn a_draining_or_disabled_backend_takes_nobody_until_that_is_taken_back() {
    let (bed, _echo, daemon) = need!(bed(Family::V6, None));
    let refused = || {
        let mut client = bed.dial(Shape::default());
        client.send(&Connect::new(Version::V3_1_1, "late").bytes());
        assert_eq!(client.packet(), [0x20, 2, 0, 3]);
    };

    let said = daemon.told(&["drain", "broker"]);
    assert!(
        said.contains("no backend of pool brokers takes clients"),
        "{said}"
    );
    refused();
    daemon.told(&["undrain", "broker"]);
    drop(bed.open("first"));
    daemon.told(&["disable", "broker"]);
    assert_eq!(state(&bed, &daemon), "disabled");
    refused();
    daemon.told(&["enable", "broker"]);
    assert_eq!(state(&bed, &daemon), "up");
    drop(bed.open("second"));

    assert_eq!(daemon.refused("no_backend"), 2);
}

#[test]
fn says_what_cannot_be_done() {
    let (_bed, _echo, daemon) = need!(bed(Family::V4, None));
    let complaint = |arguments: &[&str]| {
        let output = daemon.sluice(arguments);
        assert!(!output.status.success(), "{arguments:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };

    let unknown = complaint(&["drain", "brokr"]);
    assert!(
        unknown.contains("`brokr`") && unknown.contains("`broker`"),
        "{unknown}"
    );
    assert!(complaint(&["undrain", "broker"]).contains("is not draining"));
    assert!(complaint(&["enable", "broker"]).contains("is not disabled"));
    assert!(complaint(&["rebalance", "pools"]).contains("`brokers`"));
    assert!(complaint(&["drain", "broker", "--rate", "0/s"]).contains("100/s"));
    daemon.told(&["drain", "broker"]);
    assert!(complaint(&["disable", "broker"]).contains("sluice undrain broker"));
}

#[test]
fn those_who_talk_go_last_and_sessions_that_are_kept_before_them() {
    const OF_EACH: usize = 15;
    for listener in [None, Some(COPY)] {
        let (bed, _echo, daemon) = need!(bed(Family::V4, listener));
        let kept = |n: usize| {
            let connect = Connect::new(Version::V5, &format!("kept-{n}")).keep_session();
            bed.introduce(Shape::default(), &connect)
        };
        let talking = Talk::start(open(&bed, OF_EACH, "talking"));
        // The longer silence alone would send these first.
        let mut clients: Vec<Client> = (0..OF_EACH).map(kept).collect();
        clients.extend(open(&bed, OF_EACH, "clean"));
        say(&mut clients, 0);
        // From 4 to less than 8 s is one order of magnitude.
        thread::sleep(Duration::from_millis(5_000));
        talking.until_all_answered();

        daemon.told(&["drain", "broker", "--rate", "10/s"]);
        let departures = until_ended(&clients, 2 * OF_EACH);
        daemon.told(&["undrain", "broker"]);
        talking.until_all_answered();

        let clean = departures.iter().take(OF_EACH);
        let is_clean = |departure: &Departure| departure.client >= OF_EACH;
        assert!(clean.into_iter().all(is_clean), "{departures:?}");
        assert!(evicted(&daemon) <= 2 * OF_EACH as u64 + 3);
        drop(talking.end());
        drop(clients);
        bed.until_forgotten();
    }
}

#[test]
fn a_drain_goes_on_after_a_restart_and_stops_when_it_is_taken_back() {
    let (bed, _echo, mut daemon) = need!(bed(Family::V4, None));
    let clients = open(&bed, 200, "device");
    bed.until_spliced(200);
    daemon.told(&["drain", "broker", "--rate", "20/s"]);
    until_ended(&clients, 40);

    daemon.kill();
    let daemon = bed.start();
    assert_eq!(state(&bed, &daemon), "draining");
    wait::until("more of them have ended", || {
        ended_by_now(&clients).len() >= 80
    });
    daemon.told(&["undrain", "broker"]);
    let left = daemon.connections();
    assert!((40..=120).contains(&left), "{left} are left");

    // Nobody else is told to go.
    thread::sleep(Duration::from_millis(500));
    assert_eq!(daemon.connections(), left);
    assert_eq!(bed.flows(From::Client).len() as u64, left);
    assert_eq!(state(&bed, &daemon), "up");
    drop(clients);
    bed.until_forgotten();
}

#[test]
fn a_deadline_hurries() {
    let (bed, _echo, daemon) = need!(bed(Family::V4, None));
    let clients = open(&bed, 300, "device");
    bed.until_spliced(300);

    daemon.told(&["drain", "broker", "--rate", "1/s", "--deadline", "3s"]);

    // At the rate alone this would take five minutes.
    assert_eq!(until_ended(&clients, 300).len(), 300);
    drop(clients);
    bed.until_forgotten();
}
