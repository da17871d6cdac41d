//! What the wires do, and what they carry.

use harness::bad_wire::Habits;
use harness::need;

use crate::exchange::run_all;
use crate::{GOOD, USUAL, over};

#[test]
fn every_byte_arrives_once_and_in_order() {
    need!(run_all(&[USUAL]));
}

#[test]
fn nothing_is_lost_for_good_on_a_wire_that_loses() {
    need!(run_all(&[
        over(Habits { loses: 10, ..GOOD }, 4 << 20),
        over(Habits { loses: 50, ..GOOD }, 1 << 20),
    ]));
}

#[test]
fn nothing_is_swapped_on_a_wire_that_swaps_and_repeats() {
    need!(run_all(&[
        over(
            Habits {
                repeats: 30,
                delays: 30,
                ..GOOD
            },
            4 << 20
        ),
        over(
            Habits {
                repeats: 10,
                delays: 20,
                loses: 10
            },
            2 << 20
        ),
    ]));
}
