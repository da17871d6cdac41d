//! Packets that are not the kernel half's to touch.

use harness::bed::Family;
use harness::frame::{ACK, ETHERNET, FIN, RST, SYN};
use harness::need;
use harness::prog_run::{PASS, REDIRECT};
use lb_common::flow::STATE_REPLACED;
use lb_common::reason::Reason;

use crate::ground::{Ends, Ground, Way};
use crate::sums::put16;

/// It passes, both ways, without a change.
fn passes(ground: &mut Ground, packet: &[u8], name: &str) {
    for (way, ran) in [
        (Way::In, ground.arrives(packet)),
        (Way::Out, ground.leaves(packet)),
    ] {
        assert_eq!(ran.verdict, PASS, "{name} {way:?}");
        assert_eq!(ran.bytes, packet, "{name} {way:?}");
    }
}

#[test]
fn what_belongs_to_no_flow_passes() {
    for family in Family::BOTH {
        let ends = Ends::of(family);
        let mut ground = need!(Ground::with(&ends));
        let known = ends.client_sends(1, 1);
        for flags in [ACK, SYN | ACK, FIN | ACK, RST, SYN, 0, 0xff] {
            let mut frame = known.clone();
            frame.flags = flags;
            frame.from.set_port(known.from.port() ^ 1);
            passes(&mut ground, &frame.bytes(), "another port of the client");
            frame.from = known.from;
            frame.to.set_port(known.to.port() ^ 0x100);
            passes(&mut ground, &frame.bytes(), "another port of the listener");
            frame.to = ends.broker;
            passes(&mut ground, &frame.bytes(), "another address");
        }
        assert_eq!(ground.flow(&ends.up()).unwrap().packets, 0);
    }
}

#[test]
fn what_is_for_another_host_passes() {
    for family in Family::BOTH {
        let ends = Ends::of(family);
        let mut ground = need!(Ground::with(&ends));
        let whole = ends.client_sends(1, 1).bytes();
        // One of this network, all of it, some of it.
        for address in [[2, 0, 0, 0, 0, 1], [0xff; 6], [1, 0, 0x5e, 0, 0, 1]] {
            let mut packet = whole.clone();
            packet[..6].copy_from_slice(&address);
            let ran = ground.arrives(&packet);
            assert_eq!(
                (ran.verdict, ran.bytes),
                (PASS, packet),
                "to {address:02x?}"
            );
        }
        assert_eq!(ground.arrives(&whole).verdict, REDIRECT);
    }
}

#[test]
fn what_is_not_tcp_passes() {
    for family in Family::BOTH {
        let ends = Ends::of(family);
        let mut ground = need!(Ground::with(&ends));
        let whole = ends.client_sends(1, 1).bytes();
        let protocol = if family == Family::V4 { 9 } else { 6 };
        // ICMP, IGMP, IP, UDP, GRE, ESP, AH, no next header, ICMPv6, SCTP, mobility.
        for number in [1, 2, 4, 17, 47, 50, 51, 59, 58, 132, 135] {
            let mut packet = whole.clone();
            packet[ETHERNET + protocol] = number;
            passes(&mut ground, &packet, &format!("protocol {number}"));
        }
        // ARP, a VLAN tag within the packet, MPLS, PPPoE, a length of IEEE 802.3, the other family.
        let other = if family == Family::V4 { 0x86dd } else { 0x0800 };
        for ethertype in [0x0806, 0x8100, 0x88a8, 0x8847, 0x8864, 40, other] {
            let mut packet = whole.clone();
            put16(&mut packet, 12, ethertype);
            passes(&mut ground, &packet, &format!("ethertype {ethertype:04x}"));
        }
    }
}

#[test]
fn what_is_not_of_the_version_it_claims_to_be_passes() {
    for family in Family::BOTH {
        let ends = Ends::of(family);
        let mut ground = need!(Ground::with(&ends));
        let whole = ends.client_sends(1, 1).bytes();
        for version in 0..16_u8 {
            let mut packet = whole.clone();
            packet[ETHERNET] = version << 4 | whole[ETHERNET] & 15;
            if packet == whole {
                assert_eq!(ground.arrives(&packet).verdict, REDIRECT);
            } else {
                passes(&mut ground, &packet, &format!("version {version}"));
            }
        }
    }
}

#[test]
fn fragments_pass_and_the_first_of_a_flow_is_counted() {
    let ends = Ends::of(Family::V4);
    let mut ground = need!(Ground::with(&ends));
    let whole = ends.client_sends(1, 1).bytes();
    let with = |field: u16| {
        let mut packet = whole.clone();
        put16(&mut packet, ETHERNET + 6, field);
        packet
    };
    // First; middle and last, of which nobody knows whose they are; the largest offset.
    let fields = [
        (0x2000, 1),
        (0x6000, 1),
        (0x20b9, 0),
        (0x00b9, 0),
        (0x2001, 0),
        (0x0001, 0),
        (0x1fff, 0),
        (0x3fff, 0),
    ];
    for (field, counts) in fields {
        let before = ground.kernel.reason(Reason::NotPlain);
        let name = format!("fragment field {field:04x}");
        passes(&mut ground, &with(field), &name);
        let counted = ground.kernel.reason(Reason::NotPlain) - before;
        assert_eq!(counted, counts, "{name}");
    }
    // "Don't fragment" and the reserved bit make no fragment.
    for field in [0, 0x4000, 0x8000] {
        assert_eq!(
            ground.arrives(&with(field)).verdict,
            REDIRECT,
            "{field:04x}"
        );
    }
    ground.compare_reasons();
}

#[test]
fn fragments_of_others_are_not_counted() {
    let ends = Ends::of(Family::V4);
    let mut ground = need!(Ground::with(&ends));
    let mut frame = ends.client_sends(1, 1);
    frame.from.set_port(frame.from.port() ^ 1);
    let mut packet = frame.bytes();
    put16(&mut packet, ETHERNET + 6, 0x2000);

    passes(&mut ground, &packet, "of a stranger");
    ground.change(ends.up(), |flow| flow.state |= STATE_REPLACED);
    let mut packet = ends.client_sends(1, 1).bytes();
    put16(&mut packet, ETHERNET + 6, 0x2000);
    passes(&mut ground, &packet, "of a flow that is not found any more");

    assert_eq!(ground.kernel.reason(Reason::NotPlain), 0);
    ground.compare_reasons();
}

/// An extension header with its number, but for the number of the next.
type Header<'a> = (u8, &'a [u8]);

/// A segment behind headers.
fn behind(segment: &[u8], headers: &[Header<'_>]) -> Vec<u8> {
    let (network, tcp) = segment.split_at(ETHERNET + 40);
    let mut packet = network.to_vec();
    let numbers: Vec<u8> = headers.iter().map(|header| header.0).chain([6]).collect();
    packet[ETHERNET + 6] = numbers[0];
    for ((_, header), next) in headers.iter().zip(&numbers[1..]) {
        packet.push(*next);
        packet.extend(*header);
    }
    packet.extend(tcp);
    let length = packet.len() - ETHERNET - 40;
    put16(&mut packet, ETHERNET + 4, length.try_into().unwrap());
    packet
}

#[test]
fn extension_headers_pass_and_are_counted_where_a_flow_is_behind_them() {
    const PADDING: &[u8] = &[0, 1, 4, 0, 0, 0, 0];
    const LONG: &[u8] = &[1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    const WHOLE: &[u8] = &[0, 0, 0, 0, 0, 0, 9];
    const FIRST: &[u8] = &[0, 0, 1, 0, 0, 0, 9];
    const LATER: &[u8] = &[0, 0, 9, 0, 0, 0, 9];
    let ends = Ends::of(Family::V6);
    let mut ground = need!(Ground::with(&ends));
    let own = ends.client_sends(1, 1);
    let mut other = own.clone();
    other.to.set_port(own.to.port() ^ 1);
    let lists: [(&[Header<'_>], u64); 11] = [
        (&[(0, PADDING)], 1),
        (&[(43, PADDING)], 1),
        (&[(60, LONG)], 1),
        (&[(44, WHOLE)], 1),
        (&[(44, FIRST)], 1),
        (&[(44, LATER)], 0),
        (&[(0, PADDING), (60, LONG), (43, PADDING), (44, FIRST)], 1),
        (&[(0, LONG), (44, LATER), (60, PADDING)], 0),
        // More than is looked behind; one that is unknown; one that has another length.
        (&[(60, PADDING); 5], 0),
        (&[(0, PADDING), (135, PADDING)], 0),
        (&[(51, PADDING)], 0),
    ];
    for (headers, counts) in lists {
        let before = ground.kernel.reason(Reason::NotPlain);
        let name = format!("{headers:?}");
        passes(&mut ground, &behind(&own.bytes(), headers), &name);
        let counted = ground.kernel.reason(Reason::NotPlain) - before;
        assert_eq!(counted, counts, "{name}");

        passes(&mut ground, &behind(&other.bytes(), headers), &name);
        let again = ground.kernel.reason(Reason::NotPlain) - before;
        assert_eq!(again, counted, "{name} of a stranger");
    }
    for length in ETHERNET + 40..ETHERNET + 40 + 8 + 4 {
        let whole = behind(&own.bytes(), &[(0, PADDING)]);
        let before = ground.kernel.reason(Reason::NotPlain);
        passes(&mut ground, &whole[..length], "cut off");
        assert_eq!(ground.kernel.reason(Reason::NotPlain), before);
    }
    ground.compare_reasons();
}
