//! Ends on this host itself.

use harness::bed::Family;
use harness::frame::{ACK, ETHERNET, FIN, Frame, RST};
use harness::kernel_half::LOOPBACK;
use harness::namespace;
use harness::need;
use harness::prog_run::{DROP, PASS, Packet, REDIRECT, Sum};
use lb_common::reason::Reason;

use crate::ground::{Ends, Ground, hex};

#[test]
fn what_an_end_on_this_host_says_is_carried_where_it_leaves() {
    for family in Family::BOTH {
        let ends = Ends::of(family);
        let mut ground = need!(Ground::with(&ends));
        for (says, wanted) in [
            (ends.client_sends(5, 6), ends.broker_gets(5, 6)),
            (ends.broker_sends(7, 8), ends.client_gets(7, 8)),
        ] {
            let ran = ground.leaves(&says.bytes());
            assert_eq!(ran.verdict, REDIRECT);
            assert_eq!(hex(&ran.bytes), hex(&wanted.bytes()));
        }
    }
}

#[test]
fn between_two_ends_on_this_host_the_loopback_takes_it_on() {
    for family in Family::BOTH {
        let ends = Ends::of(family);
        let mut ground = need!(Ground::with(&ends));
        ground.change(ends.up(), |flow| flow.interface = LOOPBACK);
        let (says, wanted) = (ends.client_sends(5, 6), ends.broker_gets(5, 6));

        for ran in [ground.leaves(&says.bytes()), ground.arrives(&says.bytes())] {
            assert_eq!(ran.verdict, PASS);
            assert_eq!(hex(&ran.bytes), hex(&wanted.bytes()));
        }
    }
}

/// The end of a connection, as its end on this host says it, and as it leaves.
fn end(ends: &Ends, sequence: u32, flags: u8) -> [Vec<u8>; 2] {
    let says = ends.broker_sends(sequence, 0);
    let leaves = ends.client_gets(sequence, 0);
    [says, leaves].map(|frame| Frame { flags, ..frame }.bytes())
}

#[test]
fn the_end_that_was_carried_leaves_and_no_other() {
    for family in Family::BOTH {
        let ends = Ends::of(family);
        let mut ground = need!(Ground::with(&ends));
        ground.change(ends.down(), |flow| flow.highest_sequence = 100);
        let [says, leaves] = end(&ends, 100, FIN | ACK);
        assert_eq!(ground.leaves(&leaves).verdict, DROP, "nobody has said it");
        assert_eq!(ground.leaves(&says).verdict, REDIRECT);
        for _ in 0..2 {
            assert_eq!(ground.leaves(&leaves).verdict, PASS);
        }
        for sequence in [99, 101] {
            let [_, other] = end(&ends, sequence, FIN | ACK);
            assert_eq!(ground.leaves(&other).verdict, DROP, "{sequence}");
        }

        let [misses, leaves] = end(&ends, 90, RST);
        assert_eq!(ground.leaves(&misses).verdict, REDIRECT);
        assert_eq!(ground.leaves(&leaves).verdict, DROP, "nobody would obey it");
        let [hits, leaves] = end(&ends, 101, RST);
        assert_eq!(ground.leaves(&hits).verdict, REDIRECT);
        assert_eq!(ground.leaves(&leaves).verdict, PASS);
        assert_eq!(ground.kernel.reason(Reason::StrayEnd), 4);
    }
}

/// The hardware address of an interface that is not the loopback.
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 7];

/// Such an interface, by its index.
fn another_interface() -> u32 {
    namespace::ip(&["link", "add", "other", "type", "bridge"]);
    namespace::ip(&["link", "set", "other", "address", "02:00:00:00:00:07", "up"]);
    nix::net::if_::if_nametoindex("other").expect("it was made")
}

#[test]
fn a_packet_for_this_host_gets_there_with_its_own_destination() {
    for family in Family::BOTH {
        let ends = Ends::of(family);
        let mut ground = need!(Ground::with(&ends));
        let other = another_interface();
        ground.change(ends.up(), |flow| flow.interface = LOOPBACK);
        let mut bytes = ends.client_sends(5, 6).bytes();
        bytes[..6].copy_from_slice(&MAC);
        let mut wanted = ends.broker_gets(5, 6).bytes();
        wanted[..6].copy_from_slice(&MAC);
        let mut on_the_way = wanted.clone();
        if family == Family::V4 {
            on_the_way[ETHERNET + 16..ETHERNET + 20].copy_from_slice(&[127, 0, 0, 1]);
        }
        let packet = Packet {
            bytes: &bytes,
            came_by: other,
            on: other,
            beside: [0; 5],
            sum: Sum::Unknown,
        };

        let sent = ground.kernel.ingress.run(&packet).unwrap();

        assert_eq!(sent.verdict, REDIRECT);
        assert_eq!(hex(&sent.bytes), hex(&on_the_way));
        let packet = Packet {
            bytes: &sent.bytes,
            on: LOOPBACK,
            beside: sent.beside,
            ..packet
        };
        let there = ground.kernel.egress.run(&packet).unwrap();
        assert_eq!(there.verdict, PASS);
        assert_eq!(hex(&there.bytes), hex(&wanted));

        // Nothing is given back that was not borrowed, nor anywhere else.
        for (on, beside) in [(LOOPBACK, [0, 7, 0, 0, 0]), (other, sent.beside)] {
            let packet = Packet {
                on,
                beside,
                ..packet
            };
            let ran = ground.kernel.egress.run(&packet).unwrap();
            assert_eq!(hex(&ran.bytes), hex(&sent.bytes));
        }
    }
}
