//! Packets of one connection at the same moment, on two processors.

use std::collections::BTreeMap;
use std::hint;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use harness::bed::Family;
use harness::frame::{ACK, FIN, Frame};
use harness::need;
use harness::prog_run::{Packet, Sum};
use lb_common::flow::{
    Flow, STATE_CLOSED, STATE_FIN, STATE_FIN_ACKNOWLEDGED, STATE_GAP, STATE_PEER_FIN,
};

use crate::closing::{broker, client, quiet};
use crate::ground::{Ends, Ground};

/// How often they meet. The moment in which they could miss each other is some nanoseconds long.
const ROUNDS: u32 = 20_000;
/// Looks before the processor is left to somebody else.
const LOOKS: u64 = 1_000;
/// Looks, some minutes of them, after which the other side has failed and will not come.
const ALL_LOOKS: u64 = 10_000_000_000;

/// Runs both packets at the same moment again and again, each time from where `begin` puts both flows,
/// that from the client first; gives the states that both were left in.
fn meet(
    ends: &Ends,
    ground: &mut Ground,
    frames: [Frame; 2],
    begin: impl FnOnce(&mut [Flow; 2]),
) -> BTreeMap<[u32; 2], u32> {
    let [ours, theirs] = frames.map(|frame| frame.bytes());
    let keys = [ends.up(), ends.down()];
    let mut begun = keys.map(|key| ground.flow(&key).unwrap());
    begin(&mut begun);
    let started = AtomicU32::new(0);
    let ended = AtomicU32::new(0);
    let kernel = &mut ground.kernel;
    let (ingress, flows) = (&kernel.ingress, &mut kernel.flows);
    let run = |bytes| {
        let packet = Packet {
            bytes,
            came_by: 1,
            on: 0,
            beside: [0; 5],
            sum: Sum::Unknown,
        };
        ingress.run(&packet).expect("the program runs");
    };

    thread::scope(|scope| {
        scope.spawn(|| {
            for round in 1..=ROUNDS {
                wait_for(&started, round);
                run(&theirs);
                ended.store(round, Ordering::Release);
            }
        });
        let mut left = BTreeMap::new();
        for round in 1..=ROUNDS {
            for (key, flow) in keys.into_iter().zip(begun) {
                flows.insert(key, flow, 0).unwrap();
            }
            started.store(round, Ordering::Release);
            run(&ours);
            wait_for(&ended, round);
            let states = keys.map(|key| flows.get(&key, 0).unwrap().state);
            *left.entry(states).or_default() += 1;
        }
        left
    })
}

fn wait_for(reached: &AtomicU32, round: u32) {
    let mut looks = 0;
    while reached.load(Ordering::Acquire) < round {
        looks += 1;
        assert!(looks < ALL_LOOKS, "the other side has failed");
        if looks % LOOKS == 0 {
            thread::yield_now();
        }
        hint::spin_loop();
    }
}

#[test]
fn two_last_acknowledgments_at_once_are_the_end() {
    let (ends, mut ground) = need!(quiet(Family::V4));
    let frames = [client(&ends, 1, 1), broker(&ends, 1, 1)].map(|frame| Frame {
        flags: ACK,
        ..frame
    });
    let both = STATE_FIN | STATE_PEER_FIN;

    let left = meet(&ends, &mut ground, frames, |flows| {
        for flow in flows {
            flow.state = both;
            flow.highest_sequence = flow.highest_sequence.wrapping_add(1);
        }
    });

    let closed = both | STATE_FIN_ACKNOWLEDGED | STATE_CLOSED;
    assert_eq!(left, BTreeMap::from([([closed; 2], ROUNDS)]));
}

#[test]
fn two_fins_at_once_are_both_noticed() {
    let (ends, mut ground) = need!(quiet(Family::V6));
    let frames = [client(&ends, 0, 0), broker(&ends, 0, 0)].map(|frame| Frame {
        flags: FIN | ACK,
        ..frame
    });

    let left = meet(&ends, &mut ground, frames, |_| {});

    let both = STATE_FIN | STATE_PEER_FIN;
    assert_eq!(left, BTreeMap::from([([both; 2], ROUNDS)]));
}

/// The host of an end may send from any of its processors.
#[test]
fn the_last_acknowledgment_counts_beside_an_earlier_one() {
    let (ends, mut ground) = need!(quiet(Family::V4));
    let frames = [client(&ends, 0, 1), client(&ends, 0, 0)].map(|frame| Frame {
        flags: ACK,
        ..frame
    });

    let left = meet(&ends, &mut ground, frames, |[up, down]| {
        up.state = STATE_PEER_FIN;
        up.highest_acknowledgment = up.highest_acknowledgment.wrapping_sub(1_000);
        down.state = STATE_FIN;
        down.highest_sequence = down.highest_sequence.wrapping_add(1);
    });

    let acknowledged = [STATE_PEER_FIN, STATE_FIN | STATE_FIN_ACKNOWLEDGED];
    assert_eq!(left, BTreeMap::from([(acknowledged, ROUNDS)]));
}

#[test]
fn a_fin_counts_beside_data_from_before_it() {
    let (ends, mut ground) = need!(quiet(Family::V6));
    let fin = Frame {
        flags: FIN | ACK,
        ..client(&ends, 10, 0)
    };
    let data = Frame {
        flags: ACK,
        payload: vec![7; 10],
        ..client(&ends, 0, 0)
    };

    let left = meet(&ends, &mut ground, [fin, data], |_| {});

    // Whichever came first.
    let in_order = [STATE_FIN, STATE_PEER_FIN];
    let swapped = [STATE_FIN | STATE_GAP, STATE_PEER_FIN];
    let seen: Vec<_> = left.into_keys().collect();
    assert!(
        seen.iter()
            .all(|states| [in_order, swapped].contains(states)),
        "{seen:?}"
    );
}
