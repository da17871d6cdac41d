//! Packets that end too early, or whose lengths contradict each other.

use harness::bed::Family;
use harness::frame::{ETHERNET, Frame};
use harness::need;
use harness::prog_run::{DROP, PASS, REDIRECT};

use crate::ground::{Ends, Ground};
use crate::sums::{get16, put16};

/// A segment of the flow, with options of TCP and some payload.
fn segment(ends: &Ends) -> Frame {
    let mut frame = ends.client_sends(100, 200);
    frame.options = vec![1, 1, 5, 10, 1, 2, 3, 4, 5, 6, 7, 8];
    frame.payload = b"sixteen bytes...".to_vec();
    frame
}

/// Bytes of TCP in it, header and payload.
const TCP: usize = 20 + 12 + 16;

/// What has to become of a packet: it passes unchanged, it is dropped, it is carried.
fn expect(ground: &mut Ground, packet: &[u8], verdict: i32, name: &str) {
    let ran = ground.arrives(packet);
    assert_eq!(ran.verdict, verdict, "{name}");
    if verdict == PASS {
        assert_eq!(ran.bytes, packet, "{name}");
    }
}

#[test]
fn a_packet_that_was_cut_off_is_dropped_or_not_touched() {
    for family in Family::BOTH {
        let ends = Ends::of(family);
        let mut ground = need!(Ground::with(&ends));
        for ip_options in [0, 4, 40] {
            let mut whole = segment(&ends);
            if family == Family::V4 {
                whole.ip_options = vec![1; ip_options];
            }
            let whole = whole.bytes();
            // Where the addresses, ports and flags that tell it belongs to a flow are all there.
            let known = whole.len() - TCP + 20;
            // The kernel runs no program on less than an IP header.
            let header = ETHERNET + if family == Family::V4 { 20 } else { 40 };
            for length in header..whole.len() {
                let verdict = if length < known { PASS } else { DROP };
                expect(
                    &mut ground,
                    &whole[..length],
                    verdict,
                    &format!("{length} bytes"),
                );
            }
            expect(&mut ground, &whole, REDIRECT, "all of it");
        }
        assert_eq!(ground.flow(&ends.up()).unwrap().packets, 3);
        ground.compare_reasons();
    }
}

#[test]
fn a_packet_is_as_long_as_ip_says() {
    for family in Family::BOTH {
        let ends = Ends::of(family);
        let mut ground = need!(Ground::with(&ends));
        let whole = segment(&ends).bytes();
        let (at, header) = if family == Family::V4 {
            (ETHERNET + 2, 20)
        } else {
            (ETHERNET + 4, 0)
        };
        let right = get16(&whole, at);
        assert_eq!(usize::from(right), header + TCP);

        for said in (0..right + 20).chain([0x7fff, 0x8000, 0xffff]) {
            let mut packet = whole.clone();
            put16(&mut packet, at, said);
            let fits = said <= right && usize::from(said) >= header + 32;
            let verdict = if fits { REDIRECT } else { DROP };
            expect(&mut ground, &packet, verdict, &format!("{said} bytes said"));
        }
        // From a header alone to all 16 bytes of payload.
        assert_eq!(
            ground.flow(&ends.up()).unwrap().bytes,
            (0..=16).sum::<u64>()
        );
        ground.compare_reasons();
    }
}

#[test]
fn a_tcp_header_has_at_least_five_words_and_ends_in_the_packet() {
    for family in Family::BOTH {
        let ends = Ends::of(family);
        let mut ground = need!(Ground::with(&ends));
        let whole = segment(&ends).bytes();
        let tcp = whole.len() - TCP;
        for words in 0..16_u8 {
            let mut packet = whole.clone();
            packet[tcp + 12] = words << 4;
            let fits = (5..=12).contains(&words);
            let verdict = if fits { REDIRECT } else { DROP };
            expect(&mut ground, &packet, verdict, &format!("{words} words"));
        }
        ground.compare_reasons();
    }
}

#[test]
fn an_ipv4_header_has_at_least_five_words_and_ends_in_the_packet() {
    let ends = Ends::of(Family::V4);
    let mut ground = need!(Ground::with(&ends));
    // Read at the wrong place, ports are of no flow.
    for words in (0..16_u8).filter(|words| *words != 5) {
        let mut packet = segment(&ends).bytes();
        packet[ETHERNET] = 0x40 | words;
        expect(&mut ground, &packet, PASS, &format!("{words} words"));
    }
    for words in 6..16_u8 {
        let mut packet = ends.client_sends(1, 1).bytes();
        packet[ETHERNET] = 0x40 | words;
        expect(
            &mut ground,
            &packet,
            PASS,
            &format!("{words} words of 5 and TCP"),
        );
    }
}
