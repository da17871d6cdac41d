//! A daemon takes the place of another, and nobody who connects is turned away.

#![cfg(test)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use harness::bed::{Bed, COPY, Family};
use harness::echo::Echo;
use harness::storm::Storm;
use harness::talk::Talk;
use harness::{need, wait};

/// Clients in a second.
const RATE: u32 = 200;
/// Longer than a daemon that stops waits for clients that are on their way to a broker.
const LONG: Duration = Duration::from_secs(8);

#[test]
fn an_upgrade_turns_nobody_away_and_the_copied_stay_until_they_go() {
    need!(upgrade(Family::V4));
}

#[test]
fn an_upgrade_turns_nobody_away_on_ipv6() {
    need!(upgrade(Family::V6));
}

fn upgrade(family: Family) -> Result<(), String> {
    let mut bed = Bed::new(family)?;
    bed.setup = bed.setup.more(COPY);
    let broker = bed.family.broker();
    let _echo = bed.topology.broker.run(|| Echo::start_at(broker));
    let mut old = bed.start();
    let spliced = Talk::start((0..20).map(|n| bed.open(&format!("old-{n}"))).collect());
    let copied = (0..5).map(|n| bed.open_copied(&format!("copied-{n}")));
    let copied = Talk::start(copied.collect());
    spliced.until_all_answered();
    copied.until_all_answered();
    let bed = Arc::new(bed);
    let coming = Arc::clone(&bed);
    let storm = Storm::start(RATE, move |id| drop(coming.open(id)));
    storm.until_more(40);

    let next = bed.setup.clone().argument("--replace");
    let new = bed.topology.balancer.run(|| next.start());
    wait::until("the new one answers", || {
        new.status()["pid"] == new.process.id()
    });

    storm.until_more(40);
    storm.end();
    thread::sleep(LONG);
    spliced.until_all_answered();
    copied.until_all_answered();
    assert!(old.process.ended().is_none(), "it has clients left");
    drop(copied.end());
    assert!(old.process.end().success(), "it ends when they have gone");
    assert_eq!(new.status()["pid"], new.process.id());
    spliced.until_all_answered();
    drop(spliced.end());
    bed.until_forgotten();
    Ok(())
}

#[test]
fn a_new_one_that_dies_on_the_way_leaves_the_old_one_serving() {
    let bed = need!(Bed::new(Family::V4));
    let broker = bed.family.broker();
    let _echo = bed.topology.broker.run(|| Echo::start_at(broker));
    let daemon = bed.start();
    let talk = Talk::start((0..5).map(|n| bed.open(&format!("old-{n}"))).collect());

    for until in ["", "release\n"] {
        let mut successor = UnixStream::connect(bed.setup.control()).expect("it listens");
        successor
            .write_all(b"{\"command\":\"hand_over\"}\n")
            .expect("it hears");
        let mut answer = BufReader::with_capacity(1, &successor);
        let mut line = String::new();
        answer.read_line(&mut line).expect("it answers");
        assert!(line.contains("hand_over"), "{line}");
        answer
            .read_exact(&mut [0])
            .expect("descriptors come with it");
        (&successor).write_all(until.as_bytes()).expect("it hears");
        if !until.is_empty() {
            line.clear();
            answer.read_line(&mut line).expect("it answers");
            assert_eq!(line, "released\n");
        }
        drop(successor);

        let mut later = bed.open("later");
        later.send(b"x");
        assert_eq!(later.bytes(1), b"x");
        talk.until_all_answered();
        drop(later);
    }

    assert_eq!(daemon.status()["pid"], daemon.process.id());
    drop(talk.end());
    bed.until_forgotten();
}
