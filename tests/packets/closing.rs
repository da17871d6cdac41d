//! What ends a connection, and what does not.

use harness::bed::Family;
use harness::frame::{ACK, FIN, Frame, RST};
use harness::need;
use harness::prog_run::REDIRECT;
use lb_common::flow::{STATE_CLOSED, STATE_FIN, STATE_FIN_ACKNOWLEDGED, STATE_GAP, STATE_PEER_FIN};

use crate::ground::{DOWN, Ends, Ground, UP};

/// What client and broker have sent so far, each on its own leg.
const FROM_CLIENT: u32 = 0x6fff_fff0;
const FROM_BROKER: u32 = 0x1000_0000;

/// A connection on which each end has acknowledged all that the other has sent.
pub(crate) fn quiet(family: Family) -> Result<(Ends, Ground), String> {
    let ends = Ends::of(family);
    let mut ground = Ground::with(&ends)?;
    ground.change(ends.up(), |flow| {
        flow.highest_sequence = FROM_CLIENT;
        flow.highest_acknowledgment = FROM_BROKER.wrapping_add(DOWN);
    });
    ground.change(ends.down(), |flow| {
        flow.highest_sequence = FROM_BROKER;
        flow.highest_acknowledgment = FROM_CLIENT.wrapping_add(UP);
    });
    Ok((ends, ground))
}

impl Ground {
    fn states(&self, ends: &Ends) -> [u32; 2] {
        [ends.up(), ends.down()].map(|key| self.flow(&key).unwrap().state)
    }

    fn send(&mut self, frame: Frame, flags: u8) {
        assert_eq!(
            self.arrives(&Frame { flags, ..frame }.bytes()).verdict,
            REDIRECT
        );
    }
}

/// The next segment of the client `ahead` of what it has sent, acknowledging as much of the broker's.
pub(crate) fn client(ends: &Ends, ahead: u32, acknowledges: u32) -> Frame {
    let acknowledgment = FROM_BROKER.wrapping_add(DOWN).wrapping_add(acknowledges);
    ends.client_sends(FROM_CLIENT.wrapping_add(ahead), acknowledgment)
}

pub(crate) fn broker(ends: &Ends, ahead: u32, acknowledges: u32) -> Frame {
    let acknowledgment = FROM_CLIENT.wrapping_add(UP).wrapping_add(acknowledges);
    ends.broker_sends(FROM_BROKER.wrapping_add(ahead), acknowledgment)
}

#[test]
fn both_fins_acknowledged_is_the_end() {
    for family in Family::BOTH {
        let (ends, mut ground) = need!(quiet(family));

        ground.send(client(&ends, 0, 0), FIN | ACK);
        assert_eq!(ground.states(&ends), [STATE_FIN, STATE_PEER_FIN]);
        ground.send(broker(&ends, 0, 1), ACK);
        let half = [STATE_FIN | STATE_FIN_ACKNOWLEDGED, STATE_PEER_FIN];
        assert_eq!(ground.states(&ends), half);
        ground.send(broker(&ends, 0, 1), FIN | ACK);
        let both = [half[0] | STATE_PEER_FIN, half[1] | STATE_FIN];
        assert_eq!(ground.states(&ends), both);
        ground.send(client(&ends, 1, 1), ACK);

        let closed = STATE_FIN | STATE_FIN_ACKNOWLEDGED | STATE_PEER_FIN | STATE_CLOSED;
        assert_eq!(ground.states(&ends), [closed, closed]);
    }
}

#[test]
fn a_half_closed_connection_lives() {
    let (ends, mut ground) = need!(quiet(Family::V4));
    ground.send(client(&ends, 0, 0), FIN | ACK);
    ground.send(broker(&ends, 0, 1), ACK);

    for sent in [0, 100, 200] {
        let mut more = broker(&ends, sent, 1);
        more.payload = vec![7; 100];
        ground.send(more, ACK);
        ground.send(client(&ends, 1, sent + 100), ACK);
    }

    assert_eq!(
        ground.states(&ends),
        [STATE_FIN | STATE_FIN_ACKNOWLEDGED, STATE_PEER_FIN]
    );
}

#[test]
fn a_fin_that_is_not_at_the_end_is_not_noticed() {
    let (ends, mut ground) = need!(quiet(Family::V6));

    ground.send(client(&ends, 0xffff_fff0, 0), FIN | ACK);

    assert_eq!(ground.states(&ends), [0, 0], "an old one, or a forged one");
}

#[test]
fn a_fin_that_is_sent_again_changes_nothing() {
    let (ends, mut ground) = need!(quiet(Family::V6));
    for _ in 0..3 {
        ground.send(client(&ends, 0, 0), FIN | ACK);
    }
    assert_eq!(ground.states(&ends), [STATE_FIN, STATE_PEER_FIN]);
    let sent = ground.flow(&ends.up()).unwrap().highest_sequence;
    assert_eq!(sent, FROM_CLIENT.wrapping_add(1));
}

#[test]
fn a_reset_at_the_expected_number_is_the_end() {
    for family in Family::BOTH {
        for flags in [RST, RST | ACK] {
            let (ends, mut ground) = need!(quiet(family));
            ground.send(client(&ends, 0, 0), flags);
            assert_eq!(ground.states(&ends), [STATE_CLOSED, STATE_CLOSED]);

            let (ends, mut ground) = need!(quiet(family));
            ground.send(broker(&ends, 0, 0), flags);
            assert_eq!(ground.states(&ends), [STATE_CLOSED, STATE_CLOSED]);
        }
    }
}

#[test]
fn a_reset_at_another_number_is_carried_and_ends_nothing() {
    for family in Family::BOTH {
        let (ends, mut ground) = need!(quiet(family));
        for off in [
            1,
            2,
            1_000,
            0x7fff_ffff,
            0x8000_0000,
            u32::MAX,
            u32::MAX - 999,
        ] {
            for flags in [RST, RST | ACK] {
                ground.send(client(&ends, off, 0), flags);
                ground.send(broker(&ends, off, 0), flags);
                assert_eq!(ground.states(&ends), [0, 0], "{off:x}");
            }
        }
        let sent = ground.flow(&ends.up()).unwrap().highest_sequence;
        assert_eq!(sent, FROM_CLIENT, "it has sent nothing");
    }
}

#[test]
fn a_reset_behind_data_on_its_way_is_the_end() {
    let (ends, mut ground) = need!(quiet(Family::V4));
    let mut data = client(&ends, 0, 0);
    data.payload = vec![1; 50];
    ground.send(data, ACK);

    ground.send(client(&ends, 25, 0), RST);
    assert_eq!(
        ground.states(&ends),
        [0, 0],
        "the broker has acknowledged none of it"
    );
    ground.send(client(&ends, 50, 0), RST);

    assert_eq!(ground.states(&ends), [STATE_CLOSED, STATE_CLOSED]);
}

#[test]
fn a_reset_behind_data_that_follows_on_nothing_ends_nothing() {
    for family in Family::BOTH {
        for ahead in [1, 1_000, 0x1234_5678] {
            let (ends, mut ground) = need!(quiet(family));
            let mut forged = client(&ends, ahead, 0);
            forged.payload = vec![1];
            ground.send(forged, ACK);
            assert_eq!(ground.states(&ends), [STATE_GAP, 0]);

            ground.send(client(&ends, ahead + 1, 0), RST);
            assert_eq!(ground.states(&ends), [STATE_GAP, 0], "{ahead} ahead");
            ground.send(client(&ends, 0, 0), RST);

            let closed = [STATE_GAP | STATE_CLOSED, STATE_CLOSED];
            assert_eq!(
                ground.states(&ends),
                closed,
                "where the broker has got to it counts"
            );
        }
    }
}

#[test]
fn a_reset_where_the_receiver_has_got_to_is_the_end() {
    let (ends, mut ground) = need!(quiet(Family::V4));
    let mut data = client(&ends, 0, 0);
    data.payload = vec![1; 50];
    ground.send(data, ACK);
    ground.send(broker(&ends, 0, 20), ACK);

    ground.send(client(&ends, 20, 0), RST);

    assert_eq!(ground.states(&ends), [STATE_CLOSED, STATE_CLOSED]);
}

#[test]
fn a_direction_without_the_other_is_carried_to_its_end() {
    let (ends, mut ground) = need!(quiet(Family::V4));
    ground.kernel.flows.remove(&ends.down()).unwrap();
    ground.model.flows.remove(&ends.down());

    ground.send(client(&ends, 0, 0), FIN | ACK);
    ground.send(client(&ends, 1, 0), RST);

    assert_eq!(ground.flow(&ends.up()).unwrap().state, 0);
    assert_eq!(ground.flow(&ends.up()).unwrap().packets, 2);
}

/// A segment of so many bytes from `ahead` on.
fn data(ends: &Ends, ahead: u32, bytes: usize) -> Frame {
    Frame {
        payload: vec![1; bytes],
        ..client(ends, ahead, 0)
    }
}

#[test]
fn a_reset_behind_a_gap_that_was_filled_is_the_end() {
    for family in Family::BOTH {
        let (ends, mut ground) = need!(quiet(family));
        // What came between was lost before it got here, and comes later.
        ground.send(data(&ends, 100, 50), ACK);
        assert_eq!(ground.states(&ends), [STATE_GAP, 0]);
        ground.send(data(&ends, 0, 100), ACK);
        ground.send(client(&ends, 150, 0), RST);
        assert_eq!(ground.states(&ends), [STATE_GAP, 0], "not yet acknowledged");

        ground.send(broker(&ends, 0, 99), ACK);
        ground.send(client(&ends, 150, 0), RST);
        assert_eq!(ground.states(&ends), [STATE_GAP, 0], "not to its end");
        ground.send(broker(&ends, 0, 100), ACK);
        ground.send(client(&ends, 150, 0), RST);

        assert_eq!(
            ground.states(&ends),
            [STATE_GAP | STATE_CLOSED, STATE_CLOSED]
        );
    }
}

#[test]
fn a_gap_is_forgotten_when_it_was_filled() {
    let (ends, mut ground) = need!(quiet(Family::V4));
    ground.send(data(&ends, 100, 50), ACK);
    ground.send(data(&ends, 0, 100), ACK);
    ground.send(broker(&ends, 0, 150), ACK);

    ground.send(data(&ends, 150, 50), ACK);

    assert_eq!(ground.states(&ends), [0, 0]);
    ground.send(client(&ends, 200, 0), RST);
    assert_eq!(ground.states(&ends), [STATE_CLOSED, STATE_CLOSED]);
}

#[test]
fn the_last_of_several_gaps_counts() {
    let (ends, mut ground) = need!(quiet(Family::V6));
    ground.send(data(&ends, 100, 50), ACK);
    ground.send(data(&ends, 200, 50), ACK);
    ground.send(broker(&ends, 0, 150), ACK);

    ground.send(client(&ends, 250, 0), RST);
    assert_eq!(ground.states(&ends), [STATE_GAP, 0]);
    ground.send(broker(&ends, 0, 250), ACK);
    ground.send(client(&ends, 250, 0), RST);

    assert_eq!(
        ground.states(&ends),
        [STATE_GAP | STATE_CLOSED, STATE_CLOSED]
    );
}

/// The broker has not acknowledged the last bytes of the client.
fn unacknowledged() -> Result<(Ends, Ground), String> {
    let (ends, mut ground) = quiet(Family::V4)?;
    ground.send(data(&ends, 0, 100), ACK);
    Ok((ends, ground))
}

#[test]
fn forged_segments_do_not_go_around_sequence_space() {
    for step in [
        1 << 20,
        (1 << 28) - 3,
        (1 << 29) - 3,
        (1 << 30) - 101,
        (1 << 30) + 1,
        0x7fff_ffff,
    ] {
        let (ends, mut ground) = need!(unacknowledged());
        let mut ahead = 100_u32;
        for _ in 0..16 {
            ahead = ahead.wrapping_add(step);
            ground.send(data(&ends, ahead, 1), ACK);
            ground.send(client(&ends, ahead.wrapping_add(1), 0), RST);
            let closed = ground.states(&ends)[0] & STATE_CLOSED;
            assert_eq!(closed, 0, "{step:x} by {step:x}, at {ahead:x}");
        }
        // Where the broker has got to, it is obeyed all the same.
        ground.send(client(&ends, 0, 0), RST);
        assert_eq!(ground.states(&ends)[0] & STATE_CLOSED, STATE_CLOSED);
    }
}

#[test]
fn forged_acknowledgments_fill_no_gap() {
    let (ends, mut ground) = need!(unacknowledged());
    ground.send(data(&ends, 1_000_000, 1), ACK);

    for acknowledged in [1_000_002, 1 << 29, 0x7fff_0000] {
        ground.send(broker(&ends, 0, acknowledged), ACK);
        ground.send(client(&ends, 1_000_001, 0), RST);
        assert_eq!(ground.states(&ends), [STATE_GAP, 0], "{acknowledged:x}");
    }
}

#[test]
fn what_no_window_could_take_is_not_noticed() {
    let (ends, mut ground) = need!(quiet(Family::V6));
    for (ahead, is_noticed) in [
        ((1 << 30) + 1, false),
        (0x7fff_ffff - 1, false),
        (1 << 30, false),
        ((1 << 30) - 1, true),
    ] {
        ground.send(data(&ends, ahead, 1), ACK);
        let highest = ground.flow(&ends.up()).unwrap().highest_sequence;
        let wanted = if is_noticed { ahead + 1 } else { 0 };
        assert_eq!(highest.wrapping_sub(FROM_CLIENT), wanted, "{ahead:x}");
    }
}
