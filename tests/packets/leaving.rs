//! The moments in which the daemon still has sockets of a connection, and what of it they see.

use harness::bed::Family;
use harness::frame::{ACK, FIN, Frame, RST, SYN};
use harness::need;
use harness::prog_run::{DROP, PASS, REDIRECT};
use lb_common::flow::{Leaving, STATE_CLOSED, STATE_FIN, STATE_LEAVING, STATE_PEER_FIN};
use lb_common::reason::Reason;

use crate::ground::{Ends, Ground};

/// What the daemon's socket has sent to the client, which has acknowledged 100 bytes less.
const UNTIL: u32 = 40;

/// A connection whose client leg has a socket.
fn leaving(family: Family, may_finish: u32) -> Result<(Ends, Ground), String> {
    let ends = Ends::of(family);
    let mut ground = Ground::with(&ends)?;
    ground.change(ends.up(), |flow| {
        flow.state = STATE_LEAVING;
        flow.highest_acknowledgment = UNTIL.wrapping_sub(100);
    });
    ground.leave(
        ends.up(),
        Leaving {
            until: UNTIL,
            may_finish,
        },
    );
    Ok((ends, ground))
}

#[test]
fn the_socket_learns_what_was_acknowledged_of_its_own() {
    for family in Family::BOTH {
        let (ends, mut ground) = need!(leaving(family, 0));
        for behind in [100, 101, 99, 50, 50, 1, 0, 30] {
            let bytes = ends.client_sends(7, UNTIL.wrapping_sub(behind)).bytes();
            let ran = ground.arrives(&bytes);
            assert_eq!((ran.verdict, ran.bytes), (PASS, bytes), "{behind} behind");
        }
        let flow = ground.flow(&ends.up()).unwrap();
        assert_eq!(
            flow.highest_acknowledgment, UNTIL,
            "what the sockets knew is known"
        );
        assert_eq!((flow.packets, flow.state), (0, STATE_LEAVING));
    }
}

#[test]
fn what_acknowledges_more_is_carried() {
    for family in Family::BOTH {
        for ahead in [1, 2, 0x7fff_ffff] {
            let (ends, mut ground) = need!(leaving(family, 0));
            let acknowledgment = UNTIL.wrapping_add(ahead);
            let arrives = ends.client_sends(7, acknowledgment).bytes();
            let leaves = ends.broker_gets(7, acknowledgment).bytes();
            ground.carries(&arrives, &leaves, &format!("{ahead} ahead"));
        }
    }
}

#[test]
fn nobody_acknowledges_what_was_not_sent() {
    for family in Family::BOTH {
        let (ends, mut ground) = need!(leaving(family, 0));
        let carried = UNTIL.wrapping_add(500);
        ground.change(ends.down(), |flow| {
            flow.highest_sequence = carried.wrapping_sub(flow.sequence_shift);
        });
        let known = UNTIL.wrapping_sub(100);
        for (ahead, highest) in [
            (0x7000_0000, known),
            (501, known),
            (500, carried),
            (501, carried),
        ] {
            let acknowledgment = UNTIL.wrapping_add(ahead);
            assert_eq!(
                ground
                    .arrives(&ends.client_sends(7, acknowledgment).bytes())
                    .verdict,
                REDIRECT
            );
            assert_eq!(
                ground.flow(&ends.up()).unwrap().highest_acknowledgment,
                highest,
                "{ahead}"
            );
        }
    }
}

#[test]
fn what_is_more_than_an_acknowledgment_is_carried() {
    for family in Family::BOTH {
        let (ends, mut ground) = need!(leaving(family, 0));
        for (flags, payload) in [
            (ACK, &b"x"[..]),
            (ACK, b"more data"),
            (FIN | ACK, b""),
            (RST | ACK, b"x"),
            (SYN | ACK, b""),
            (0, b""),
        ] {
            let mut frame = Frame {
                flags,
                ..ends.client_sends(7, UNTIL)
            };
            frame.payload = payload.to_vec();
            let ran = ground.arrives(&frame.bytes());
            assert_eq!(ran.verdict, REDIRECT, "{flags:02x} {payload:?}");
        }
    }
}

#[test]
fn the_socket_judges_a_reset_that_the_other_end_would_not_obey() {
    for family in Family::BOTH {
        for flags in [RST, RST | ACK] {
            let (ends, mut ground) = need!(leaving(family, 0));
            let reset = |sequence| Frame {
                flags,
                ..ends.client_sends(sequence, UNTIL)
            };
            let [up, down] = [ends.up(), ends.down()].map(|key| ground.flow(&key).unwrap());
            let expected = down.highest_acknowledgment.wrapping_sub(up.sequence_shift);
            // The number before a FIN that was carried is all that the socket knows of.
            for sequence in [expected.wrapping_sub(1), expected.wrapping_add(1)] {
                let bytes = reset(sequence).bytes();
                let ran = ground.arrives(&bytes);
                assert_eq!((ran.verdict, ran.bytes), (PASS, bytes), "{sequence}");
                let state = ground.flow(&ends.up()).unwrap().state;
                assert_eq!(state, STATE_LEAVING);
            }
            let ran = ground.arrives(&reset(expected).bytes());
            assert_eq!(ran.verdict, REDIRECT);
            let state = ground.flow(&ends.up()).unwrap().state;
            assert_eq!(state, STATE_LEAVING | STATE_CLOSED);
        }
    }
}

#[test]
fn lengths_that_contradict_each_other_are_dropped_here_too() {
    let (ends, mut ground) = need!(leaving(Family::V4, 0));
    let mut bytes = ends.client_sends(7, UNTIL).bytes();
    bytes[14 + 20 + 12] = 4 << 4;
    assert_eq!(ground.arrives(&bytes).verdict, DROP);
    ground.compare_reasons();
}

#[test]
fn without_a_socket_everything_is_carried() {
    for family in Family::BOTH {
        let (ends, mut ground) = need!(leaving(family, 0));
        ground.kernel.leaving.remove(&ends.up()).unwrap();
        ground.model.leaving.remove(&ends.up());

        let arrives = ends.client_sends(7, UNTIL).bytes();
        ground.carries(&arrives, &ends.broker_gets(7, UNTIL).bytes(), "it has left");

        let state = ground.flow(&ends.up()).unwrap().state;
        assert_eq!(state & STATE_LEAVING, 0, "it need not be looked up again");
    }
}

#[test]
fn the_other_leg_is_left_on_its_own() {
    let (ends, mut ground) = need!(leaving(Family::V6, 0));
    let arrives = ends.broker_sends(1, UNTIL).bytes();
    ground.carries(
        &arrives,
        &ends.client_gets(1, UNTIL).bytes(),
        "the broker leg has no socket",
    );
}

/// A segment that this host sends to the client of a connection.
fn own(ends: &Ends, flags: u8) -> Vec<u8> {
    let frame = Frame::new(ends.listener, ends.client);
    Frame { flags, ..frame }.bytes()
}

#[test]
fn this_host_does_not_end_what_it_no_longer_has() {
    for family in Family::BOTH {
        let ends = Ends::of(family);
        let mut ground = need!(Ground::with(&ends));
        for flags in [RST, RST | ACK, FIN, FIN | ACK, FIN | RST] {
            assert_eq!(
                ground.leaves(&own(&ends, flags)).verdict,
                DROP,
                "{flags:02x}"
            );
        }
        assert_eq!(ground.kernel.reason(Reason::StrayEnd), 5);
        for flags in [ACK, SYN | ACK, SYN] {
            assert_eq!(
                ground.leaves(&own(&ends, flags)).verdict,
                PASS,
                "{flags:02x}"
            );
        }
        ground.compare_reasons();
        for key in [ends.up(), ends.down()] {
            assert_eq!(ground.flow(&key).unwrap().state, 0);
        }
    }
}

#[test]
fn a_fin_that_the_daemon_passes_on_counts_as_carried() {
    for family in Family::BOTH {
        let (ends, mut ground) = need!(leaving(family, 1));
        let sent = ground.flow(&ends.down()).unwrap().highest_sequence;

        for _ in 0..2 {
            assert_eq!(ground.leaves(&own(&ends, FIN | ACK)).verdict, PASS);
        }

        let [up, down] = [ends.up(), ends.down()].map(|key| ground.flow(&key).unwrap());
        assert_eq!(down.state, STATE_FIN);
        assert_eq!(
            down.highest_sequence,
            sent + 1,
            "sent again it is still one"
        );
        assert_eq!(up.state, STATE_LEAVING | STATE_PEER_FIN);
        assert_eq!(
            ground.leaves(&own(&ends, RST)).verdict,
            DROP,
            "a reset is another matter"
        );
    }
}

#[test]
fn a_fin_that_the_daemon_has_none_to_pass_on_for_is_dropped() {
    let (ends, mut ground) = need!(leaving(Family::V4, 0));
    assert_eq!(ground.leaves(&own(&ends, FIN | ACK)).verdict, DROP);
    assert_eq!(ground.flow(&ends.down()).unwrap().state, 0);
}
