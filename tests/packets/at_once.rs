//! Packets of both directions at the same moment, on two processors.

use std::collections::BTreeMap;
use std::hint;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use harness::bed::Family;
use harness::frame::{ACK, FIN, Frame};
use harness::need;
use harness::prog_run::{Packet, Sum};
use lb_common::flow::{STATE_CLOSED, STATE_FIN, STATE_FIN_ACKNOWLEDGED, STATE_PEER_FIN};

use crate::closing::{broker, client, quiet};
use crate::ground::{Ends, Ground};

/// How often they meet. The moment in which they could miss each other is some nanoseconds long.
const ROUNDS: u32 = 20_000;
/// Looks before the processor is left to somebody else.
const LOOKS: u64 = 1_000;
/// Looks, some minutes of them, after which the other side has failed and will not come.
const ALL_LOOKS: u64 = 10_000_000_000;

/// Runs both packets at the same moment again and again, each time from `state`, with `sent` more
/// numbers sent in each direction than acknowledged; gives the states that both were left in.
fn meet(
    ends: &Ends,
    ground: &mut Ground,
    frames: [Frame; 2],
    [state, sent]: [u32; 2],
) -> BTreeMap<[u32; 2], u32> {
    let [ours, theirs] = frames.map(|frame| frame.bytes());
    let keys = [ends.up(), ends.down()];
    let quiet = keys.map(|key| ground.flow(&key).unwrap());
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
            for (key, mut flow) in keys.into_iter().zip(quiet) {
                flow.state = state;
                flow.highest_sequence = flow.highest_sequence.wrapping_add(sent);
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

    let left = meet(&ends, &mut ground, frames, [both, 1]);

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

    let left = meet(&ends, &mut ground, frames, [0, 0]);

    let both = STATE_FIN | STATE_PEER_FIN;
    assert_eq!(left, BTreeMap::from([([both; 2], ROUNDS)]));
}
