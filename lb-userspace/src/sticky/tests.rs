//! Entries live from a session to its end and a while longer, and never more than there is room for.

use std::time::Duration;

use super::{Expiry, Memory, key};

const EXPIRE: Duration = Duration::from_secs(100);

fn expiry() -> Expiry {
    Expiry::new([("pool", EXPIRE)].into_iter())
}

fn recalls(memory: &Memory, id: &str, now: u64) -> bool {
    memory
        .recall(&key("pool", id).unwrap(), EXPIRE, now)
        .is_some()
}

fn learn(memory: &Memory, id: &str, session: u64) {
    memory.learn(&key("pool", id).unwrap(), "broker", session);
}

#[test]
fn time_counts_from_the_end_of_the_session() {
    let memory = Memory::new(None, 1000);
    learn(&memory, "a", 1);

    memory.tidy(None, |_| true, &expiry(), 10_000);
    assert!(recalls(&memory, "a", 10_000));
    memory.tidy(None, |_| false, &expiry(), 10_010);
    assert!(recalls(&memory, "a", 10_109));
    assert!(!recalls(&memory, "a", 10_110));

    assert_eq!(memory.entries(), 1);
    memory.tidy(None, |_| false, &expiry(), 10_110);
    assert_eq!(memory.entries(), 0);
}

#[test]
fn a_session_that_was_not_seen_is_open_again() {
    let memory = Memory::new(None, 1000);
    learn(&memory, "a", 1);
    memory.tidy(None, |_| false, &expiry(), 10);

    memory.tidy(None, |session| session == 1, &expiry(), 20);

    assert!(recalls(&memory, "a", 10_000));
}

#[test]
fn the_last_session_counts() {
    let memory = Memory::new(None, 1000);
    learn(&memory, "a", 1);
    memory.tidy(None, |_| false, &expiry(), 10);
    learn(&memory, "a", 2);

    memory.tidy(None, |session| session == 2, &expiry(), 1000);

    assert!(recalls(&memory, "a", 1000));
}

#[test]
fn ids_are_told_apart_by_pool_and_to_their_end() {
    let memory = Memory::new(None, 1000);
    let long = "x".repeat(60_000);
    learn(&memory, &format!("{long}1"), 1);

    assert!(recalls(&memory, &format!("{long}1"), 1));
    assert!(!recalls(&memory, &format!("{long}2"), 1));
    let elsewhere = key("other", &format!("{long}1")).unwrap();
    assert_eq!(memory.recall(&elsewhere, EXPIRE, 1), None);
    assert_eq!(key("pool", ""), None);
}

#[test]
fn nobody_is_remembered_who_finds_no_room() {
    let memory = Memory::new(None, 100);
    (0..101).for_each(|n| learn(&memory, &n.to_string(), n));

    assert_eq!((memory.learned.value(), memory.full.value()), (100, 1));
    assert!(recalls(&memory, "99", 1) && !recalls(&memory, "100", 1));
    learn(&memory, "99", 200);
    assert_eq!(memory.full.value(), 1);
}

#[test]
fn those_that_ended_first_make_room_but_no_open_session_does() {
    let memory = Memory::new(None, 100);
    (0..100).for_each(|n| learn(&memory, &n.to_string(), n));
    memory.tidy(None, |session| session >= 5, &expiry(), 10);
    memory.tidy(None, |session| session >= 50, &expiry(), 20);

    // Ten are to go: the first five, and any five of those that ended later.
    memory.tidy(None, |session| session >= 50, &expiry(), 30);

    assert_eq!(memory.entries(), 90);
    assert!((0..5).all(|n| !recalls(&memory, &n.to_string(), 30)));
    assert!((50..100).all(|n| recalls(&memory, &n.to_string(), 30)));
}

#[test]
fn a_pool_that_is_gone_remembers_until_its_clients_have_gone() {
    let memory = Memory::new(None, 100);
    learn(&memory, "a", 1);

    memory.tidy(None, |_| true, &Expiry::default(), 10);
    assert_eq!(memory.entries(), 1);
    memory.tidy(None, |_| false, &Expiry::default(), 20);
    assert_eq!(memory.entries(), 0);
}

#[test]
fn forgets_at_once_what_it_is_told_to() {
    let memory = Memory::new(None, 100);
    learn(&memory, "a", 1);

    memory.forget(&key("pool", "a").unwrap());

    assert!(!recalls(&memory, "a", 1));
}
