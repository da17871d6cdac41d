use std::net::Ipv4Addr;
use std::sync::Arc;

use bytes::BytesMut;

use super::{CrowdedOut, Pending, Room, Slot, Source};
use crate::config::{Limits, PENDING_FREE_BYTES, TLS_BYTES, check};

const ROOM: Room = Room {
    all: 3,
    each_source: 2,
};

fn source(last: u8) -> Source {
    std::net::IpAddr::from(Ipv4Addr::new(192, 0, 2, last)).into()
}

fn has_to_go(slot: &Slot) -> bool {
    why(slot) == Some(CrowdedOut::Places)
}

fn why(slot: &Slot) -> Option<CrowdedOut> {
    slot.crowded_out.get().copied()
}

#[test]
fn a_source_crowds_out_its_own() {
    let pending = Arc::new(Pending::default());
    let other = pending.enter(source(1), ROOM);
    let first = pending.enter(source(2), ROOM);
    let second = pending.enter(source(2), ROOM);

    let third = pending.enter(source(2), ROOM);

    assert!(has_to_go(&first));
    for slot in [&other, &second, &third] {
        assert!(!has_to_go(slot));
    }
    assert_eq!(pending.count(), 3);
}

#[test]
fn the_oldest_goes_where_there_is_no_room_at_all() {
    let pending = Arc::new(Pending::default());
    let slots: Vec<Slot> = (0..4).map(|n| pending.enter(source(n), ROOM)).collect();

    let gone: Vec<bool> = slots.iter().map(has_to_go).collect();

    assert_eq!(gone, [true, false, false, false]);
}

#[test]
fn nothing_is_left_of_those_who_are_through() {
    let pending = Arc::new(Pending::default());
    let slots: Vec<Slot> = (0..9).map(|n| pending.enter(source(n), ROOM)).collect();
    drop(slots);

    assert_eq!(pending.count(), 0);
    assert!(pending.queue().by_source.is_empty());
}

const MANY: Room = Room {
    all: 100,
    each_source: 100,
};
const KIB: usize = 1 << 10;

/// Room for the longest CONNECT and 4 KiB.
fn limits() -> Limits {
    let minimal = include_str!("../../../../conf/minimal.toml");
    let limits = check::check(minimal).unwrap().limits;
    Limits {
        connect_packet_bytes: 16 * KIB,
        pending_bytes: 20 * KIB - PENDING_FREE_BYTES,
        ..limits
    }
}

/// Receives as long as there is room, as a session does; what is not kept.
fn receive(slot: &Slot, bytes: usize) -> Option<()> {
    let mut received = BytesMut::with_capacity(PENDING_FREE_BYTES);
    let mut rest = bytes;
    loop {
        let piece = rest.min(received.capacity() - received.len());
        let capacity = received.capacity();
        received.extend_from_slice(&vec![0; piece]);
        assert_eq!(received.capacity(), capacity);
        rest -= piece;
        slot.keep(received);
        if rest == 0 {
            return Some(());
        }
        received = slot.take(&limits())?;
    }
}

#[test]
fn the_first_bytes_do_not_count() {
    let pending = Arc::new(Pending::default());
    let slots: Vec<Slot> = (0..99).map(|n| pending.enter(source(n), MANY)).collect();

    for slot in &slots {
        assert!(receive(slot, PENDING_FREE_BYTES).is_some());
    }

    assert_eq!(pending.bytes(), 0);
}

#[test]
fn a_tls_session_counts_until_its_connect_is_whole() {
    let pending = Arc::new(Pending::default());
    let limits = Limits {
        pending_bytes: TLS_BYTES + limits().pending_bytes,
        ..limits()
    };
    let [first, second] = [1, 2].map(|n| pending.enter(source(n), MANY));

    assert!(first.begin_tls(&limits));
    assert!(second.begin_tls(&limits));
    assert_eq!(pending.bytes(), 2 * TLS_BYTES);
    // The youngest needs room for its CONNECT as well.
    second.keep(BytesMut::zeroed(2 * KIB));
    assert_eq!(second.take(&limits).unwrap().capacity(), 4 * KIB);
    assert_eq!(why(&first), None);
    second.keep(BytesMut::zeroed(4 * KIB));
    assert_eq!(second.take(&limits).unwrap().capacity(), 8 * KIB);
    assert_eq!(why(&first), Some(CrowdedOut::Bytes));

    let held = second.finish();
    assert_eq!(pending.bytes(), 8 * KIB - PENDING_FREE_BYTES);
    drop((first, held));
    assert_eq!(pending.bytes(), 0);
}

#[test]
fn all_that_is_allocated_counts_until_it_is_gone() {
    let pending = Arc::new(Pending::default());
    let slots = [1, 2].map(|n| pending.enter(source(n), MANY));

    receive(&slots[0], KIB + 1).unwrap();
    receive(&slots[1], 9 * KIB).unwrap();

    // The capacity doubles up to what a CONNECT may have.
    let held = [2 * KIB, 16 * KIB].map(|capacity| capacity - PENDING_FREE_BYTES);
    assert_eq!(pending.bytes(), held[0] + held[1]);
    let taken = slots[1].take(&limits()).unwrap();
    assert_eq!((taken.len(), taken.capacity()), (9 * KIB, 16 * KIB));
    assert_eq!(pending.bytes(), held[0] + held[1]);
    let [first, second] = slots;
    drop(second);
    assert_eq!(pending.bytes(), held[0]);
    drop(first);
    assert_eq!(pending.bytes(), 0);
    assert!(pending.queue().holding.is_empty());
}

#[test]
fn the_oldest_that_hold_bytes_make_room() {
    let pending = Arc::new(Pending::default());
    let slots: Vec<Slot> = (0..5).map(|n| pending.enter(source(n), MANY)).collect();
    receive(&slots[0], 100).unwrap();
    for slot in &slots[1..4] {
        receive(slot, 4 * KIB).unwrap();
    }

    receive(&slots[4], 16 * KIB).unwrap();

    let gone: Vec<_> = slots.iter().map(why).collect();
    let bytes = Some(CrowdedOut::Bytes);
    assert_eq!(gone, [None, bytes, bytes, None, None]);
    assert!(slots[1].take(&limits()).is_none());
    assert_eq!(pending.count(), 3);
    assert_eq!(pending.bytes(), 20 * KIB - 2 * PENDING_FREE_BYTES);
}

#[test]
fn the_one_that_needs_the_room_goes_where_it_is_the_oldest() {
    let pending = Arc::new(Pending::default());
    let slots = [1, 2].map(|n| pending.enter(source(n), MANY));
    receive(&slots[1], 16 * KIB).unwrap();

    assert!(receive(&slots[0], 16 * KIB).is_none());

    assert_eq!(why(&slots[0]), Some(CrowdedOut::Bytes));
    assert_eq!(why(&slots[1]), None);
    assert_eq!(pending.bytes(), 16 * KIB - PENDING_FREE_BYTES);
}

#[test]
fn a_whole_connect_counts_until_it_is_done_with_and_nobody_takes_its_room() {
    let pending = Arc::new(Pending::default());
    let [whole, young] = [1, 2].map(|n| pending.enter(source(n), MANY));
    receive(&whole, 16 * KIB).unwrap();

    let held = whole.finish();

    assert_eq!(
        (pending.count(), pending.bytes()),
        (1, 16 * KIB - PENDING_FREE_BYTES)
    );
    assert!(receive(&young, 16 * KIB).is_none());
    assert_eq!(why(&young), Some(CrowdedOut::Bytes));
    drop(held);
    assert_eq!(pending.bytes(), 0);
}

#[test]
fn nothing_is_kept_for_one_that_has_to_go() {
    let pending = Arc::new(Pending::default());
    let first = pending.enter(source(1), MANY);
    receive(&first, 16 * KIB).unwrap();
    let taken = first.take(&limits()).unwrap();
    let second = pending.enter(source(2), MANY);
    receive(&second, 16 * KIB).unwrap();

    first.keep(taken);

    assert!(first.take(&limits()).is_none());
    assert_eq!(pending.bytes(), 16 * KIB - PENDING_FREE_BYTES);
}
