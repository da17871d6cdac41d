//! Selective acknowledgments among other options, in every order and every state of health.

use harness::bed::Family;
use harness::need;
use lb_common::flow::FLAG_NO_SACK;

use crate::ground::{ACK_UP, Ends, Ground};

const NOP: u8 = 1;

/// An option, or several.
#[derive(Debug, Clone)]
enum Piece {
    Bytes(&'static [u8]),
    Nops(usize),
    Sack(usize),
}

/// What the receiver is to see of a SACK option.
#[derive(Debug, Clone, Copy)]
enum Edges {
    Raw,
    Moved,
    Blank,
}

const TIMESTAMPS: Piece = Piece::Bytes(&[8, 10, 0xde, 0xad, 0xbe, 0xef, 5, 2, 0, 0]);
const UNKNOWN: Piece = Piece::Bytes(&[253, 6, 5, 10, 5, 10]);
const EMPTY_UNKNOWN: Piece = Piece::Bytes(&[254, 2]);

/// Options filled up to a multiple of 4 bytes; nothing where they do not fit.
fn options(pieces: &[Piece], edges: Edges, filler: u8) -> Option<Vec<u8>> {
    let mut options = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Bytes(bytes) => options.extend(*bytes),
            Piece::Nops(count) => options.extend(vec![NOP; *count]),
            Piece::Sack(blocks) => options.extend(sack(*blocks, edges)),
        }
    }
    options.resize(options.len().next_multiple_of(4), filler);
    (options.len() <= 40).then_some(options)
}

fn sack(blocks: usize, edges: Edges) -> Vec<u8> {
    let size = 2 + 8 * blocks;
    if matches!(edges, Edges::Blank) {
        return vec![NOP; size];
    }
    let shift = if matches!(edges, Edges::Moved) {
        ACK_UP
    } else {
        0
    };
    let mut option = vec![5, u8::try_from(size).unwrap()];
    for edge in 0..2 * u32::try_from(blocks).unwrap() {
        // Among them are some that wrap and some that do not.
        let edge = 0x4321_8767_u32.wrapping_sub(4).wrapping_add(edge);
        option.extend(edge.wrapping_add(shift).to_be_bytes());
    }
    option
}

/// Every list that has one SACK option and fits.
fn lists() -> Vec<Vec<Piece>> {
    let others = [
        vec![],
        vec![TIMESTAMPS],
        vec![UNKNOWN],
        vec![EMPTY_UNKNOWN],
        vec![TIMESTAMPS, UNKNOWN],
        vec![UNKNOWN, TIMESTAMPS],
    ];
    let mut lists = Vec::new();
    for blocks in 1..=4 {
        for nops in [0, 1, 2, 3, 7, 30] {
            for before in &others {
                for after in &others {
                    let mut list = vec![Piece::Nops(nops)];
                    list.extend(before.clone());
                    list.push(Piece::Sack(blocks));
                    list.extend(after.clone());
                    lists.push(list.clone());
                    // The run of NOPs just before instead.
                    list[..=before.len()].rotate_left(1);
                    lists.push(list);
                }
            }
        }
    }
    lists
}

fn compare(edges: Edges, flags: u8) -> Result<(), String> {
    let mut fitted = 0;
    for family in Family::BOTH {
        let ends = Ends::of(family);
        let mut ground = Ground::with(&ends)?;
        ground.change(ends.up(), |flow| flow.flags |= flags);
        for list in lists() {
            for filler in [0, NOP] {
                let raw = options(&list, Edges::Raw, filler);
                let Some((raw, wanted)) = raw.zip(options(&list, edges, filler)) else {
                    continue;
                };
                fitted += 1;
                let mut arrives = ends.client_sends(1, 1);
                arrives.options = raw;
                let mut leaves = ends.broker_gets(1, 1);
                leaves.options = wanted;
                ground.carries(&arrives.bytes(), &leaves.bytes(), &format!("{list:?}"));
            }
        }
    }
    assert!(fitted > 500, "only {fitted} lists fit");
    Ok(())
}

#[test]
fn edges_move_with_the_acknowledgment_wherever_they_are() {
    need!(compare(Edges::Moved, 0));
}

#[test]
fn blocks_are_blanked_where_the_receiver_did_not_agree() {
    need!(compare(Edges::Blank, FLAG_NO_SACK));
}

#[test]
fn options_that_are_malformed_are_carried_as_they_are() {
    let malformed: &[&[u8]] = &[
        // A SACK option of no, one, or an odd number of bytes, or of edges without a pair.
        &[5, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10],
        &[5, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10],
        &[5, 3, 9, 1],
        &[5, 6, 1, 2, 3, 4, 1, 1],
        &[5, 9, 1, 2, 3, 4, 5, 6, 7, 1, 1, 1],
        &[5, 11, 1, 2, 3, 4, 5, 6, 7, 8, 9, 1],
        &[5, 14, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 1, 1],
        &[
            5, 40, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24,
            25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 253, 5, 1, 2, 3, 1,
        ],
        // One that ends behind the header.
        &[5, 10, 1, 2, 3, 4, 5, 6],
        &[1, 1, 1, 5],
        &[1, 1, 1, 5, 10, 1, 2, 3, 4, 5, 6, 7],
        &[5, 255, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10],
        // One behind the end of the list, or behind an option without an end.
        &[0, 1, 5, 10, 1, 2, 3, 4, 5, 6, 7, 8],
        &[253, 0, 5, 10, 1, 2, 3, 4, 5, 6, 7, 8],
        &[253, 1, 5, 10, 1, 2, 3, 4, 5, 6, 7, 8],
        &[253, 200, 5, 10, 1, 2, 3, 4, 5, 6, 7, 8],
        &[1, 1, 1, 253],
    ];
    for family in Family::BOTH {
        let ends = Ends::of(family);
        let mut ground = need!(Ground::with(&ends));
        let flags = ground.flow(&ends.up()).unwrap().flags;
        let cases = malformed
            .iter()
            .flat_map(|options| [(options, 0), (options, FLAG_NO_SACK)]);
        for (options, more) in cases {
            ground.change(ends.up(), |flow| flow.flags = flags | more);
            let [mut arrives, mut leaves] = [ends.client_sends(1, 1), ends.broker_gets(1, 1)];
            for frame in [&mut arrives, &mut leaves] {
                frame.options = options.to_vec();
                frame.payload = vec![5, 10, 1, 2, 3, 4, 5, 6, 7, 8];
            }
            ground.carries(&arrives.bytes(), &leaves.bytes(), &format!("{options:?}"));
        }
    }
}

#[test]
fn every_option_of_a_list_is_looked_at() {
    let lists = [
        vec![Piece::Sack(1), Piece::Sack(1)],
        vec![Piece::Sack(1), Piece::Sack(2)],
        vec![Piece::Sack(2), Piece::Nops(2), Piece::Sack(1)],
        vec![Piece::Sack(1), Piece::Sack(1), Piece::Sack(1)],
        vec![Piece::Nops(1), Piece::Sack(1), UNKNOWN, Piece::Sack(1)],
        vec![EMPTY_UNKNOWN, Piece::Sack(1), TIMESTAMPS, Piece::Sack(1)],
        vec![
            Piece::Sack(1),
            Piece::Sack(1),
            Piece::Sack(1),
            Piece::Sack(1),
        ],
    ];
    for (edges, flags) in [(Edges::Moved, 0), (Edges::Blank, FLAG_NO_SACK)] {
        let ends = Ends::of(Family::V4);
        let mut ground = need!(Ground::with(&ends));
        ground.change(ends.up(), |flow| flow.flags |= flags);
        for list in &lists {
            let mut arrives = ends.client_sends(1, 1);
            arrives.options = options(list, Edges::Raw, NOP).expect("it fits");
            let mut leaves = ends.broker_gets(1, 1);
            leaves.options = options(list, edges, NOP).expect("it fits");
            ground.carries(&arrives.bytes(), &leaves.bytes(), &format!("{list:?}"));
        }
    }
}

#[test]
fn what_is_before_a_malformed_option_is_still_an_option() {
    let ends = Ends::of(Family::V6);
    let mut ground = need!(Ground::with(&ends));
    let behind: [u8; 10] = [253, 0, 5, 10, 1, 2, 3, 4, 5, 6];
    let [mut arrives, mut leaves] = [ends.client_sends(1, 1), ends.broker_gets(1, 1)];
    arrives.options = [sack(1, Edges::Raw), behind.to_vec()].concat();
    leaves.options = [sack(1, Edges::Moved), behind.to_vec()].concat();

    ground.carries(
        &arrives.bytes(),
        &leaves.bytes(),
        "one, and one that is none",
    );
}
