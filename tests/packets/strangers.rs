//! Packets that are not the kernel half's to touch.

use harness::bed::Family;
use harness::frame::{ACK, ETHERNET, FIN, RST, SYN};
use harness::need;
use harness::prog_run::{PASS, REDIRECT};
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
            passes(&mut ground, &packet, &format!("to {address:02x?}"));
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
fn fragments_pass_and_are_counted() {
    let ends = Ends::of(Family::V4);
    let mut ground = need!(Ground::with(&ends));
    let whole = ends.client_sends(1, 1).bytes();
    let with = |field: u16| {
        let mut packet = whole.clone();
        put16(&mut packet, ETHERNET + 6, field);
        packet
    };
    // First, middle, last; the smallest and the largest offset.
    for field in [
        0x2000, 0x20b9, 0x00b9, 0x2001, 0x0001, 0x1fff, 0x3fff, 0x6000,
    ] {
        passes(
            &mut ground,
            &with(field),
            &format!("fragment field {field:04x}"),
        );
    }
    assert_eq!(ground.kernel.reason(Reason::NotPlain), 8);
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
fn extension_headers_pass_and_are_counted() {
    let ends = Ends::of(Family::V6);
    let mut ground = need!(Ground::with(&ends));
    let whole = ends.client_sends(1, 1).bytes();
    let (headers, tcp) = whole.split_at(ETHERNET + 40);
    // Hop-by-hop options, routing, fragment, destination options, each with TCP behind it.
    for number in [0, 43, 44, 60] {
        let mut packet = [headers, &[6, 0, 1, 4, 0, 0, 0, 0], tcp].concat();
        packet[ETHERNET + 6] = number;
        put16(&mut packet, ETHERNET + 4, 28);
        passes(&mut ground, &packet, &format!("header {number}"));
    }
    assert_eq!(ground.kernel.reason(Reason::NotPlain), 4);
    ground.compare_reasons();
}
