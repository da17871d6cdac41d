//! What the daemon and a broker say of a connection while it opens.

use harness::bed::Family;
use harness::frame::{ACK, Frame, SYN};
use harness::need;
use harness::prog_run::PASS;
use lb_common::flow::OFFER_NO_SACK;

use crate::ground::{Ends, Ground, hex};
use crate::syns::{BLANK, TIMESTAMPS, pairs};

#[test]
fn what_a_broker_takes_is_remembered() {
    let unsaid = [(Family::V4, 536), (Family::V6, 1220)];
    for (family, unsaid) in unsaid {
        let ends = Ends::of(family);
        let mut ground = need!(Ground::new());
        ground.announce(ends.down(), 0);
        let mut syn = Frame::new(ends.ours, ends.broker);
        syn.flags = SYN;
        ground.leaves(&syn.bytes());
        let remembered =
            |ground: &Ground| ground.kernel.handshakes.get(&ends.down(), 0).unwrap().mss;
        assert_eq!(remembered(&ground), 0, "it has not answered");

        let lists: [(&[u8], u32); 8] = [
            (&[2, 4, 5, 0xb4], 1460),
            (&[4, 2, 1, 1, 1, 2, 4, 0x23, 0x04, 3, 3, 7], 8964),
            (&[], unsaid),
            (&[4, 2, 3, 3, 7, 1, 1, 1], unsaid),
            (&[2, 3, 5, 1], unsaid),
            (&[2, 0, 2, 4, 5, 0xb4, 0, 0], unsaid),
            (&[2, 3, 9, 2, 4, 5, 0xb4, 0], 1460),
            (&[2, 4, 5, 0xb4, 2, 4, 4, 0, 2, 4, 5, 0], 1024),
        ];
        for (options, mss) in lists {
            let mut answer = ends.broker_sends(1, 1);
            (answer.flags, answer.options) = (SYN | ACK, options.to_vec());
            let bytes = answer.bytes();

            let ran = ground.arrives(&bytes);

            assert_eq!((ran.verdict, ran.bytes), (PASS, bytes), "{options:?}");
            assert_eq!(remembered(&ground), mss, "{options:?}");
        }
    }
}

#[test]
fn a_broker_is_not_offered_sack_where_the_client_has_none() {
    let permitted: &[u8] = &[4, 2];
    let lists: [(Vec<u8>, Vec<u8>); 5] = [
        (permitted.to_vec(), vec![1, 1]),
        (
            [&[2, 4, 5, 0xb4, 4, 2], TIMESTAMPS, &[1, 3, 3, 7]].concat(),
            [&[2, 4, 5, 0xb4, 1, 1], BLANK, &[1, 3, 3, 7]].concat(),
        ),
        (
            [&[1; 37], &[4, 2, 0][..]].concat(),
            [&[1; 39], &[0][..]].concat(),
        ),
        ([permitted; 20].concat(), vec![1; 40]),
        // Of another length it permits nothing; behind the end there is nothing.
        (
            vec![4, 3, 0, 4, 4, 4, 2, 0, 0, 4, 2, 1],
            vec![4, 3, 0, 4, 4, 4, 2, 0, 0, 4, 2, 1],
        ),
    ];
    for family in Family::BOTH {
        let ends = Ends::of(family);
        let mut ground = need!(Ground::new());
        ground.announce(ends.down(), OFFER_NO_SACK);
        for (own, wanted) in &lists {
            let [mut syn, mut narrowed] = [
                Frame::new(ends.ours, ends.broker),
                Frame::new(ends.ours, ends.broker),
            ];
            for (frame, options) in [(&mut syn, own), (&mut narrowed, wanted)] {
                frame.flags = SYN;
                frame.options = options.clone();
                frame.options.resize(options.len().next_multiple_of(4), 0);
            }
            // It may have to be sent again.
            for _ in 0..2 {
                let ran = ground.leaves(&syn.bytes());
                assert_eq!(ran.verdict, PASS, "{own:?}");
                assert_eq!(hex(&ran.bytes), hex(&narrowed.bytes()), "{own:?}");
            }
        }
        let seen = ground.kernel.handshakes.get(&ends.down(), 0).unwrap();
        assert_ne!(seen.since, 0, "its SYN has passed");
        ground.announce(ends.down(), 0);
        assert_eq!(
            ground.kernel.handshakes.get(&ends.down(), 0).unwrap().since,
            0
        );
        let (syn, wanted) = pairs(ends.ours, ends.broker).remove(5);
        assert_eq!(ground.leaves(&syn.bytes()).bytes, wanted.bytes());
    }
}
