//! "Fragmentation needed" and "packet too big" about segments that were carried.

use std::net::{IpAddr, SocketAddr};

use harness::bed::Family;
use harness::frame::{ETHERNET, HOST, checksum};
use harness::need;
use harness::prog_run::{PASS, REDIRECT};

use crate::ground::{Ends, Ground, hex};
use crate::sums::put16;

/// A router on the way to the broker.
pub(crate) fn router(family: Family) -> IpAddr {
    let text = if family == Family::V4 {
        "192.0.2.1"
    } else {
        "2001:db8:ffff::1"
    };
    text.parse().unwrap()
}

/// What a router says about a packet, of which it quotes some bytes.
pub(crate) fn message(router: IpAddr, to: SocketAddr, quoted: &[u8]) -> Vec<u8> {
    let mtu = [0x05, 0x14];
    let mut frame = HOST.to_vec();
    match (router, to.ip()) {
        (IpAddr::V4(router), IpAddr::V4(to)) => {
            frame.extend([8, 0, 0x45, 0, 0, 0, 0x12, 0x34, 0, 0, 60, 1, 0, 0]);
            frame.extend([router.octets(), to.octets()].concat());
            put16(
                &mut frame,
                ETHERNET + 2,
                u16::try_from(28 + quoted.len()).unwrap(),
            );
            let header = checksum(&frame[ETHERNET..]);
            frame[ETHERNET + 10..ETHERNET + 12].copy_from_slice(&header);
            frame.extend([3, 4, 0, 0, 0, 0, mtu[0], mtu[1]]);
            frame.extend(quoted);
            let sum = checksum(&frame[ETHERNET + 20..]);
            frame[ETHERNET + 22..ETHERNET + 24].copy_from_slice(&sum);
        }
        (IpAddr::V6(router), IpAddr::V6(to)) => {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 0, 58, 60]);
            frame.extend([router.octets(), to.octets()].concat());
            put16(
                &mut frame,
                ETHERNET + 4,
                u16::try_from(8 + quoted.len()).unwrap(),
            );
            frame.extend([2, 0, 0, 0, 0, 0, mtu[0], mtu[1]]);
            frame.extend(quoted);
            let mut summed = frame[ETHERNET + 8..].to_vec();
            // The rest of the pseudo-header of RFC 8200 section 8.1.
            summed.splice(32..32, [frame[ETHERNET + 4], frame[ETHERNET + 5], 0, 58]);
            let sum = checksum(&summed);
            frame[ETHERNET + 42..ETHERNET + 44].copy_from_slice(&sum);
        }
        (router, to) => panic!("{router} and {to} are of two families"),
    }
    frame
}

/// Messages about a segment of the client, as they come and as they have to go on; with the bytes of
/// the segment that they quote.
fn up(family: Family, quoted: usize) -> [Vec<u8>; 2] {
    let ends = Ends::of(family);
    let [mut was, became] = [ends.client_sends(77, 88), ends.broker_gets(77, 88)];
    was.hops = became.hops;
    [(became, ends.ours), (was, ends.client)].map(|(segment, to)| {
        let header = if family == Family::V4 { 20 } else { 40 };
        let bytes = segment.bytes();
        message(
            router(family),
            to,
            &bytes[ETHERNET..ETHERNET + header + quoted],
        )
    })
}

#[test]
fn a_message_goes_on_to_who_sent_the_segment() {
    for family in Family::BOTH {
        let ends = Ends::of(family);
        let mut ground = need!(Ground::with(&ends));
        let [comes, goes_on] = up(family, 8);

        ground.carries(&comes, &goes_on, "eight bytes are quoted");

        let [comes, _] = up(family, 20);
        assert_eq!(
            ground.arrives(&comes).verdict,
            REDIRECT,
            "all of the header is quoted"
        );
    }
}

#[test]
fn a_message_that_is_cut_off_is_the_hosts() {
    for family in Family::BOTH {
        let mut ground = need!(Ground::with(&Ends::of(family)));
        let [comes, _] = up(family, 8);
        let header = ETHERNET + if family == Family::V4 { 20 } else { 40 };
        for length in header..comes.len() {
            let ran = ground.arrives(&comes[..length]);
            assert_eq!(
                (ran.verdict, &ran.bytes[..]),
                (PASS, &comes[..length]),
                "{length} bytes"
            );
        }
    }
}

#[test]
fn other_messages_are_the_hosts() {
    for family in Family::BOTH {
        let mut ground = need!(Ground::with(&Ends::of(family)));
        let [comes, _] = up(family, 8);
        let (icmp, quoted) = if family == Family::V4 {
            (ETHERNET + 20, ETHERNET + 28)
        } else {
            (ETHERNET + 40, ETHERNET + 48)
        };
        let protocol = if family == Family::V4 {
            quoted + 9
        } else {
            quoted + 6
        };
        let port = comes.len() - 8;
        // Type, code, version, protocol, port, and for IPv4 fragments and options.
        let changes = [
            (icmp, 1),
            (icmp + 1, 1),
            (quoted, 0x50),
            (protocol, 17),
            (port, 0xff),
            (port + 3, 0xff),
        ];
        let only_v4 = [
            (ETHERNET + 6, 0x20),
            (ETHERNET + 7, 1),
            (ETHERNET, 0x46),
            (quoted, 0x46),
        ];
        let only_v4 = only_v4.into_iter().filter(|_| family == Family::V4);
        for (at, value) in changes.into_iter().chain(only_v4) {
            let mut packet = comes.clone();
            packet[at] = value;
            let ran = ground.arrives(&packet);
            assert_eq!(
                (ran.verdict, hex(&ran.bytes)),
                (PASS, hex(&packet)),
                "byte {at}: {value}"
            );
        }
        assert_eq!(ground.arrives(&comes).verdict, REDIRECT);
    }
}
