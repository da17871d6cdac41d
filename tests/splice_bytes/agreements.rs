//! What either end agrees on with the balancer, and how much it takes at a time.

use harness::bad_wire::Habits;
use harness::need;
use harness::shape::Shape;

use crate::exchange::run_all;
use crate::{Case, GOOD, NO_SHAPE, USUAL, buffer, over};

const NO_SACK: &[(&str, &str)] = &[("net.ipv4.tcp_sack", "0")];
const NO_TIMESTAMPS: &[(&str, &str)] = &[("net.ipv4.tcp_timestamps", "0")];
const ECN: &[(&str, &str)] = &[("net.ipv4.tcp_ecn", "1")];

#[test]
fn the_ends_need_not_agree_on_sack() {
    // Where only one end has agreed to it, the other's losses are found by time-outs.
    let loses = over(
        Habits {
            loses: 10,
            delays: 10,
            ..GOOD
        },
        256 << 10,
    );

    need!(run_all(&[
        Case {
            sysctls: [NO_SACK, &[]],
            ..loses
        },
        Case {
            sysctls: [&[], NO_SACK],
            ..loses
        },
        Case {
            sysctls: [NO_SACK, NO_SACK],
            ..loses
        },
    ]));
}

#[test]
fn the_ends_need_not_agree_on_timestamps_or_ecn() {
    need!(run_all(&[
        Case {
            sysctls: [NO_TIMESTAMPS, &[]],
            ..USUAL
        },
        Case {
            sysctls: [&[], NO_TIMESTAMPS],
            ..USUAL
        },
        Case {
            sysctls: [ECN, ECN],
            ..USUAL
        },
    ]));
}

const NO_SCALE: &[(&str, &str)] = &[("net.ipv4.tcp_window_scaling", "0")];
/// The kernel announces the scale that the largest of these needs: 1 GiB, 16,384 units.
const LARGEST_SCALE: &[(&str, &str)] = &[("net.ipv4.tcp_rmem", "4096 131072 1073741824")];

#[test]
fn the_ends_need_not_agree_on_the_scale_of_windows() {
    need!(run_all(&[
        Case {
            sysctls: [NO_SCALE, &[]],
            ..USUAL
        },
        Case {
            sysctls: [&[], NO_SCALE],
            ..USUAL
        },
        Case {
            sysctls: [LARGEST_SCALE, NO_SCALE],
            ..USUAL
        },
        Case {
            sysctls: [NO_SCALE, LARGEST_SCALE],
            ..USUAL
        },
        Case {
            sysctls: [LARGEST_SCALE, LARGEST_SCALE],
            ..USUAL
        },
        Case {
            shapes: [buffer(32 << 10), NO_SHAPE],
            ..USUAL
        },
        Case {
            shapes: [NO_SHAPE, buffer(32 << 10)],
            ..USUAL
        },
        Case {
            sysctls: [LARGEST_SCALE, &[]],
            shapes: [NO_SHAPE, buffer(64 << 10)],
            ..USUAL
        },
        Case {
            sysctls: [&[], LARGEST_SCALE],
            shapes: [buffer(64 << 10), NO_SHAPE],
            ..USUAL
        },
    ]));
}

#[test]
fn tiny_windows_are_enough() {
    const TINY: Case = Case {
        bytes: 1 << 20,
        ..USUAL
    };

    need!(run_all(&[
        Case {
            shapes: [buffer(5000), NO_SHAPE],
            ..TINY
        },
        Case {
            shapes: [NO_SHAPE, buffer(5000)],
            ..TINY
        },
        Case {
            shapes: [buffer(8000), buffer(8000)],
            ..TINY
        },
    ]));
}

#[test]
fn readers_may_stall() {
    const STALLS: Case = Case {
        stalls: true,
        ..USUAL
    };

    need!(run_all(&[
        STALLS,
        Case {
            shapes: [buffer(16 << 10), buffer(16 << 10)],
            ..STALLS
        },
        Case {
            sysctls: [LARGEST_SCALE, NO_SCALE],
            ..STALLS
        },
        Case {
            sysctls: [NO_SCALE, LARGEST_SCALE],
            ..STALLS
        },
    ]));
}

/// Insists on segments of so many bytes.
const fn segment(bytes: u32) -> Shape {
    Shape {
        segment: Some(bytes),
        ..NO_SHAPE
    }
}

#[test]
fn segments_may_be_of_any_size() {
    need!(run_all(&[
        Case {
            mtu: [9000, 9000],
            ..USUAL
        },
        Case {
            mtu: [9000, 1500],
            ..USUAL
        },
        Case {
            mtu: [1500, 9000],
            ..USUAL
        },
        Case {
            mtu: [1500, 1300],
            ..USUAL
        },
        Case {
            shapes: [segment(536), NO_SHAPE],
            ..USUAL
        },
        Case {
            shapes: [NO_SHAPE, segment(536)],
            because: "segment_size",
            ..USUAL
        },
    ]));
}
