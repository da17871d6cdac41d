//! SYNs of connections that may be spliced later, and those of others.

use std::net::SocketAddr;

use harness::bed::Family;
use harness::frame::{ACK, CWR, ECE, FIN, Frame, RST, SYN};
use harness::need;
use harness::prog_run::{PASS, Packet, Sum};
use lb_common::flow::STATE_CLOSED;

use crate::ground::{Ends, Ground, hex};

pub(crate) const TIMESTAMPS: &[u8] = &[8, 10, 1, 2, 3, 4, 0, 0, 0, 0];
pub(crate) const BLANK: &[u8] = &[1; 10];
/// What stays: MSS, SACK-permitted, window scale, Fast Open, something unknown, NOPs.
const OTHERS: &[&[u8]] = &[
    &[2, 4, 5, 0xb4],
    &[4, 2],
    &[3, 3, 7],
    &[34, 10, 1, 2, 3, 4, 5, 6, 7, 8],
    &[253, 4, 8, 10],
    &[1, 1],
];

/// A SYN, and the same without timestamps and ECN.
pub(crate) fn pairs(from: SocketAddr, to: SocketAddr) -> Vec<(Frame, Frame)> {
    let mut pairs = Vec::new();
    let mut lists: Vec<[Vec<u8>; 2]> = vec![[Vec::new(), Vec::new()]];
    // Timestamps before, between and behind the others.
    for place in 0..=OTHERS.len() {
        let (before, after) = OTHERS.split_at(place);
        lists
            .push([TIMESTAMPS, BLANK].map(|own| [&before.concat(), own, &after.concat()].concat()));
    }
    // As Linux, Windows and FreeBSD send it, and far behind.
    lists
        .push([TIMESTAMPS, BLANK].map(|own| [&[2, 4, 5, 0xb4, 4, 2], own, &[1, 3, 3, 7]].concat()));
    lists.push([TIMESTAMPS, BLANK].map(|own| [&[1; 30], own].concat()));
    // Nobody sends them twice; who would, is not to get them by it.
    lists.push([TIMESTAMPS, BLANK].map(|own| [own, own, &[4, 2], own].concat()));
    for [own, wanted] in lists {
        for flags in [0, ECE, CWR, ECE | CWR] {
            let mut syn = Frame::new(from, to);
            syn.acknowledgment = 0;
            syn.sequence = 0xdead_beef;
            syn.window = 64_240;
            syn.payload = if own.is_empty() {
                b"odd".to_vec()
            } else {
                Vec::new()
            };
            let filled = |mut options: Vec<u8>| {
                options.resize(options.len().next_multiple_of(4), 0);
                options
            };
            let wanted = Frame {
                options: filled(wanted.clone()),
                flags: SYN,
                ..syn.clone()
            };
            let syn = Frame {
                options: filled(own.clone()),
                flags: SYN | flags,
                ..syn
            };
            pairs.push((syn, wanted));
        }
    }
    pairs
}

#[test]
fn clients_are_offered_neither_timestamps_nor_ecn() {
    for family in Family::BOTH {
        let ends = Ends::of(family);
        let mut ground = need!(Ground::new());
        ground.listen(ends.listener);
        let pairs = pairs(ends.client, ends.listener);
        for (syn, wanted) in &pairs {
            let ran = ground.arrives(&syn.bytes());

            assert_eq!(ran.verdict, PASS, "{syn:?}");
            assert_eq!(hex(&ran.bytes), hex(&wanted.bytes()), "{syn:?}");
        }
        assert_eq!(
            ground.syns(ends.listener),
            u64::try_from(pairs.len()).unwrap()
        );
        assert!(
            ground.kernel.handshakes.get(&ends.up(), 0).is_ok(),
            "it is remembered"
        );
        assert_eq!(ground.kernel.handshakes.keys().count(), 1);
    }
}

#[test]
fn brokers_are_offered_neither_timestamps_nor_ecn() {
    for family in Family::BOTH {
        let ends = Ends::of(family);
        let mut ground = need!(Ground::new());
        ground.announce(ends.down(), 0);
        for (syn, wanted) in pairs(ends.ours, ends.broker) {
            let ran = ground.leaves(&syn.bytes());

            assert_eq!(ran.verdict, PASS, "{syn:?}");
            assert_eq!(hex(&ran.bytes), hex(&wanted.bytes()), "{syn:?}");
        }
        assert!(
            ground.kernel.handshakes.get(&ends.down(), 0).is_ok(),
            "as its answers arrive"
        );
        assert_eq!(ground.kernel.handshakes.keys().count(), 1);
    }
}

#[test]
fn a_listener_on_any_address_is_found() {
    for (family, any) in [(Family::V4, "0.0.0.0:1883"), (Family::V6, "[::]:1883")] {
        let ends = Ends::of(family);
        let mut ground = need!(Ground::new());
        let any = any.parse().unwrap();
        ground.listen(any);
        for (syn, wanted) in pairs(ends.client, ends.listener) {
            assert_eq!(ground.arrives(&syn.bytes()).bytes, wanted.bytes());
        }
        assert_ne!(ground.syns(any), 0);
    }
}

#[test]
fn syns_of_others_are_not_touched() {
    for family in Family::BOTH {
        let ends = Ends::of(family);
        let mut ground = need!(Ground::new());
        ground.listen(ends.listener);
        ground.announce(ends.down(), 0);
        for (syn, _) in pairs(ends.client, ends.broker) {
            let bytes = syn.bytes();
            let ran = ground.arrives(&bytes);
            assert_eq!(
                (ran.verdict, ran.bytes),
                (PASS, bytes),
                "to a broker, and arrives"
            );
        }
        for (syn, _) in pairs(ends.ours, ends.listener) {
            let bytes = syn.bytes();
            let ran = ground.leaves(&bytes);
            assert_eq!(
                (ran.verdict, ran.bytes),
                (PASS, bytes),
                "to a listener, and leaves"
            );
        }
        for (mut syn, _) in pairs(ends.client, ends.listener) {
            syn.flags |= ACK;
            let bytes = syn.bytes();
            let ran = ground.arrives(&bytes);
            assert_eq!(
                (ran.verdict, ran.bytes),
                (PASS, bytes),
                "an answer to a SYN"
            );
        }
        assert!(!ground.has_seen_any());
        assert_eq!(ground.syns(ends.listener), 0);
    }
}

#[test]
fn syns_of_connections_that_will_be_copied_are_counted_and_not_touched() {
    for family in Family::BOTH {
        let ends = Ends::of(family);
        let mut ground = need!(Ground::new());
        ground.listen_for(ends.listener, false);
        // Of another connection than the daemon announced.
        ground.announce(Ends::of(family).up(), 0);
        let arriving = pairs(ends.client, ends.listener);
        for (syn, _) in &arriving {
            let bytes = syn.bytes();
            let ran = ground.arrives(&bytes);
            assert_eq!((ran.verdict, ran.bytes), (PASS, bytes), "from a client");
        }
        for (syn, _) in pairs(ends.ours, ends.broker) {
            let bytes = syn.bytes();
            let ran = ground.leaves(&bytes);
            assert_eq!((ran.verdict, ran.bytes), (PASS, bytes), "to a broker");
        }
        assert!(!ground.has_seen_any());
        let count = u64::try_from(arriving.len()).unwrap();
        assert_eq!(ground.syns(ends.listener), count);
    }
}

#[test]
fn what_this_host_forwards_is_not_touched() {
    for family in Family::BOTH {
        let ends = Ends::of(family);
        let mut ground = need!(Ground::with(&ends));
        ground.announce(ends.down(), 0);
        let mut frames: Vec<Frame> = pairs(ends.ours, ends.broker)
            .into_iter()
            .map(|(syn, _)| syn)
            .collect();
        for flags in [FIN | ACK, RST, RST | ACK] {
            frames.push(Frame {
                flags,
                ..Frame::new(ends.ours, ends.broker)
            });
        }
        for frame in frames {
            let bytes = frame.bytes();
            let packet = Packet {
                bytes: &bytes,
                came_by: 7,
                on: 0,
                beside: [0; 5],
                sum: Sum::Complete,
            };
            let ran = ground.kernel.egress.run(&packet).unwrap();
            assert_eq!((ran.verdict, ran.bytes), (PASS, bytes), "{frame:?}");
        }
        assert!(!ground.has_seen_any());
    }
}

#[test]
fn a_syn_that_is_malformed_is_not_touched() {
    for family in Family::BOTH {
        let ends = Ends::of(family);
        let mut ground = need!(Ground::new());
        ground.listen(ends.listener);
        let mut syn = Frame::new(ends.client, ends.listener);
        syn.flags = SYN | ECE | CWR;
        syn.options = [TIMESTAMPS, &[1, 1]].concat();
        let whole = syn.bytes();
        let tcp = whole.len() - 32;

        let cut_off = (tcp + 20..whole.len()).map(|length| whole[..length].to_vec());
        let header = [0, 1, 4, 9, 15].map(|words: u8| {
            let mut bytes = whole.clone();
            bytes[tcp + 12] = words << 4;
            bytes
        });
        for bytes in cut_off.chain(header) {
            let ran = ground.arrives(&bytes);
            assert_eq!((ran.verdict, hex(&ran.bytes)), (PASS, hex(&bytes)));
        }
        assert_eq!(ground.kernel.handshakes.keys().count(), 0);
    }
}

#[test]
fn accurate_ecn_is_not_offered_either() {
    let ends = Ends::of(Family::V4);
    let mut ground = need!(Ground::new());
    ground.listen(ends.listener);
    let mut syn = Frame::new(ends.client, ends.listener);
    syn.flags = SYN | ECE | CWR;
    let mut bytes = syn.bytes();
    let tcp = bytes.len() - 20;
    // The flag AE, and a checksum that takes it into account.
    bytes[tcp + 12] |= 1;
    let checksum = u16::from_be_bytes([bytes[tcp + 16], bytes[tcp + 17]]);
    let checksum = checksum
        .checked_sub(0x0100)
        .expect("this one does not wrap");
    bytes[tcp + 16..tcp + 18].copy_from_slice(&checksum.to_be_bytes());

    let ran = ground.arrives(&bytes);

    syn.flags = SYN;
    assert_eq!(hex(&ran.bytes), hex(&syn.bytes()));
}

#[test]
fn a_syn_on_the_addresses_of_a_closed_connection_begins_a_new_one() {
    for family in Family::BOTH {
        let ends = Ends::of(family);
        let mut ground = need!(Ground::with(&ends));
        ground.listen(ends.listener);
        let (syn, wanted) = pairs(ends.client, ends.listener).remove(7);
        ground.arrives(&syn.bytes());
        assert_eq!(
            ground.flow(&ends.up()).unwrap().packets,
            1,
            "while it lives a SYN is the broker's"
        );
        ground.change(ends.up(), |flow| flow.state |= STATE_CLOSED);
        ground.change(ends.down(), |flow| flow.state |= STATE_CLOSED);

        let ran = ground.arrives(&syn.bytes());

        assert_eq!(ran.verdict, PASS);
        assert_eq!(hex(&ran.bytes), hex(&wanted.bytes()));
        assert_eq!(ground.syns(ends.listener), 1);
        for (arrives, leaves) in [
            (
                ends.client_sends(1, 1),
                Frame::new(ends.listener, ends.client),
            ),
            (ends.broker_sends(1, 1), Frame::new(ends.ours, ends.broker)),
        ] {
            for flags in [ACK, RST, FIN | ACK] {
                let own = [&arrives, &leaves].map(|frame| {
                    Frame {
                        flags,
                        ..frame.clone()
                    }
                    .bytes()
                });
                assert_eq!(
                    ground.arrives(&own[0]).verdict,
                    PASS,
                    "the new one is the daemon's"
                );
                assert_eq!(ground.leaves(&own[1]).verdict, PASS, "it may end it");
            }
        }
    }
}

#[test]
fn other_segments_do_not_revive_a_closed_connection() {
    let ends = Ends::of(Family::V4);
    let mut ground = need!(Ground::with(&ends));
    ground.change(ends.up(), |flow| flow.state |= STATE_CLOSED);
    for flags in [ACK, SYN | ACK, RST, FIN | ACK] {
        let frame = Frame {
            flags,
            ..ends.client_sends(1, 1)
        };
        ground.arrives(&frame.bytes());
    }
    assert_eq!(ground.flow(&ends.up()).unwrap().packets, 4);
    assert_eq!(
        ground.flow(&ends.up()).unwrap().state & STATE_CLOSED,
        STATE_CLOSED
    );
}
