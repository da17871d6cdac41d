//! Segments that are carried: every field of what leaves, and nothing else changed.

use harness::bed::Family;
use harness::frame::{ACK, CWR, ECE, FIN, Frame, RST, SYN};
use harness::need;
use harness::prog_run::{DROP, REDIRECT};
use lb_common::flow::Flow;
use lb_common::reason::Reason;

use crate::ground::{Ends, Ground};

/// A segment from the client; the flow is as of `Ends::flows` but for `flow`, and what leaves differs
/// from the plain translation of it by `leaves`.
struct Case {
    name: &'static str,
    numbers: [u32; 2],
    arrives: fn(&mut Frame),
    flow: fn(&mut Flow),
    leaves: fn(&mut Frame),
}

const PLAIN: Case = Case {
    name: "an acknowledgment",
    numbers: [1_000, 2_000],
    arrives: |frame| frame.window = 512,
    flow: |_| {},
    leaves: |frame| frame.window = 512,
};

const fn windows(name: &'static str, flow: fn(&mut Flow), both: [fn(&mut Frame); 2]) -> Case {
    Case {
        name,
        flow,
        arrives: both[0],
        leaves: both[1],
        ..PLAIN
    }
}

/// What arrives leaves the same but for addresses, ports and numbers.
const fn kept(name: &'static str, change: fn(&mut Frame)) -> Case {
    Case {
        name,
        arrives: change,
        leaves: change,
        ..PLAIN
    }
}

const NUMBERS: &[Case] = &[
    PLAIN,
    Case {
        name: "numbers that do not wrap",
        numbers: [0, 0x4321_8767],
        ..PLAIN
    },
    Case {
        name: "numbers at the wrap",
        numbers: [0x6fff_fffa, 0x4321_8766],
        ..PLAIN
    },
    Case {
        name: "numbers past the wrap",
        numbers: [0x6fff_fffb, 0x4321_8768],
        ..PLAIN
    },
    Case {
        name: "the highest numbers",
        numbers: [u32::MAX, u32::MAX],
        ..PLAIN
    },
    Case {
        name: "no acknowledgment",
        numbers: [7, 0],
        arrives: |frame| frame.flags = RST,
        leaves: |frame| (frame.flags, frame.acknowledgment) = (RST, 0),
        ..PLAIN
    },
];

const FIELDS: &[Case] = &[
    kept("an even payload", |frame| {
        frame.payload = b"PINGREQ!".to_vec();
    }),
    kept("an odd payload", |frame| {
        frame.payload = b"PINGREQ".to_vec();
    }),
    kept("a full segment", |frame| frame.payload = vec![0xa5; 1_460]),
    kept("flags but ACK", |frame| {
        frame.flags = 0x28 | ACK | ECE | CWR;
    }),
    kept("a FIN", |frame| frame.flags = FIN | ACK),
    kept("a SYN", |frame| {
        frame.flags = SYN | ACK | ECE | CWR;
        frame.window = 0xffff;
        frame.options = vec![
            2, 4, 5, 0xb4, 4, 2, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8, 1, 3, 3, 7, 5, 10, 1, 2, 3, 4, 5,
            6, 7, 8, 1, 1,
        ];
    }),
    Case {
        name: "the longest way",
        arrives: |frame| frame.hops = 255,
        leaves: |frame| frame.hops = 254,
        ..PLAIN
    },
    Case {
        name: "the last hop but one",
        arrives: |frame| frame.hops = 2,
        leaves: |frame| frame.hops = 1,
        ..PLAIN
    },
];

const WINDOWS: &[Case] = &[
    windows(
        "a larger unit",
        |flow| (flow.window_left, flow.window_right) = (3, 7),
        [|frame| frame.window = 0x1234, |frame| frame.window = 0x0123],
    ),
    windows(
        "a smaller unit",
        |flow| (flow.window_left, flow.window_right) = (7, 3),
        [|frame| frame.window = 0x0123, |frame| frame.window = 0x1230],
    ),
    windows(
        "more than can be said",
        |flow| (flow.window_left, flow.window_right) = (7, 3),
        [|frame| frame.window = 0x1000, |frame| frame.window = 0xffff],
    ),
    windows(
        "the most there is",
        |flow| (flow.window_left, flow.window_right) = (14, 0),
        [|frame| frame.window = 0xffff, |frame| frame.window = 0xffff],
    ),
    windows(
        "the largest unit",
        |flow| (flow.window_left, flow.window_right) = (0, 14),
        [|frame| frame.window = 0xffff, |frame| frame.window = 3],
    ),
    windows(
        "less than a unit",
        |flow| (flow.window_left, flow.window_right) = (0, 14),
        [|frame| frame.window = 1, |frame| frame.window = 1],
    ),
    windows(
        "closed",
        |flow| (flow.window_left, flow.window_right) = (14, 0),
        [|frame| frame.window = 0, |frame| frame.window = 0],
    ),
    windows(
        "a SYN says it without a scale",
        |flow| flow.window_left = 14,
        [
            |frame| (frame.window, frame.flags) = (700, SYN),
            |frame| (frame.window, frame.flags, frame.acknowledgment) = (700, SYN, 2_000),
        ],
    ),
];

fn carries(cases: &[Case]) -> Result<(), String> {
    for family in Family::BOTH {
        let ends = Ends::of(family);
        let mut ground = Ground::new()?;
        for case in cases {
            ground.connect(&ends);
            ground.change(ends.up(), case.flow);
            let [sequence, acknowledgment] = case.numbers;
            let mut arrives = ends.client_sends(sequence, acknowledgment);
            let mut leaves = ends.broker_gets(sequence, acknowledgment);
            (case.arrives)(&mut arrives);
            (case.leaves)(&mut leaves);
            ground.carries(&arrives.bytes(), &leaves.bytes(), case.name);
        }
    }
    Ok(())
}

#[test]
fn numbers_move_by_a_constant() {
    need!(carries(NUMBERS));
}

#[test]
fn what_is_not_of_a_leg_stays() {
    need!(carries(FIELDS));
}

#[test]
fn windows_are_said_in_the_units_of_the_other_leg() {
    need!(carries(WINDOWS));
}

#[test]
fn each_way_has_its_own_constants() {
    for family in Family::BOTH {
        let ends = Ends::of(family);
        let mut ground = need!(Ground::with(&ends));
        let [mut arrives, mut leaves] = [ends.broker_sends(5, 6), ends.client_gets(5, 6)];
        for frame in [&mut arrives, &mut leaves] {
            frame.payload = b"from the broker".to_vec();
        }

        ground.carries(&arrives.bytes(), &leaves.bytes(), "down");

        assert_eq!(ground.flow(&ends.down()).unwrap().bytes, 15);
        assert_eq!(ground.flow(&ends.down()).unwrap().packets, 1);
        assert_eq!(ground.flow(&ends.up()).unwrap().packets, 0);
    }
}

#[test]
fn options_of_ipv4_are_carried_along() {
    let ends = Ends::of(Family::V4);
    let mut ground = need!(Ground::with(&ends));
    for words in 1..=10 {
        let [mut arrives, mut leaves] = [ends.client_sends(9, 9), ends.broker_gets(9, 9)];
        for frame in [&mut arrives, &mut leaves] {
            frame.ip_options = vec![1; 4 * words];
            frame.payload = b"behind options".to_vec();
        }
        ground.carries(
            &arrives.bytes(),
            &leaves.bytes(),
            &format!("{words} words of options"),
        );
    }
}

#[test]
fn padding_behind_a_short_packet_is_carried_along() {
    for family in Family::BOTH {
        let ends = Ends::of(family);
        let mut ground = need!(Ground::with(&ends));
        for padding in 1..=6 {
            let padded = |frame: Frame| [frame.bytes(), vec![0x5a; padding]].concat();
            let arrives = padded(ends.client_sends(3, 4));
            let leaves = padded(ends.broker_gets(3, 4));
            ground.carries(&arrives, &leaves, &format!("{padding} bytes of padding"));
        }
        assert_eq!(
            ground.flow(&ends.up()).unwrap().bytes,
            0,
            "padding is no payload"
        );
    }
}

#[test]
fn what_was_damaged_on_one_leg_is_damaged_on_the_other() {
    for family in Family::BOTH {
        let ends = Ends::of(family);
        let mut ground = need!(Ground::with(&ends));
        let damaged = |mut frame: Frame| {
            frame.payload = b"damaged".to_vec();
            let mut bytes = frame.bytes();
            *bytes.last_mut().unwrap() ^= 0x10;
            bytes
        };
        let (arrives, leaves) = (
            damaged(ends.client_sends(3, 4)),
            damaged(ends.broker_gets(3, 4)),
        );
        ground.carries(&arrives, &leaves, "a bit of the payload");
    }
}

#[test]
fn a_segment_at_the_end_of_its_way_is_dropped() {
    for family in Family::BOTH {
        let ends = Ends::of(family);
        let mut ground = need!(Ground::with(&ends));
        for (hops, verdict) in [(0, DROP), (1, DROP), (2, REDIRECT)] {
            let frame = Frame {
                hops,
                ..ends.client_sends(1, 1)
            };
            assert_eq!(
                ground.arrives(&frame.bytes()).verdict,
                verdict,
                "{hops} hops"
            );
        }
        assert_eq!(ground.kernel.reason(Reason::TimeToLive), 2);
        ground.compare_reasons();
    }
}

#[test]
fn the_time_of_the_last_segment_is_kept() {
    let ends = Ends::of(Family::V4);
    let mut ground = need!(Ground::with(&ends));
    assert_eq!(ground.kernel.flows.get(&ends.up(), 0).unwrap().last_seen, 0);

    ground.arrives(&ends.client_sends(1, 1).bytes());

    assert_ne!(ground.kernel.flows.get(&ends.up(), 0).unwrap().last_seen, 0);
    assert_eq!(
        ground.kernel.flows.get(&ends.down(), 0).unwrap().last_seen,
        0
    );
}
