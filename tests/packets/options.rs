//! TCP options as RFC 9293 section 3.1 has them, for the model.

use std::ops::Range;

use crate::sums::{get32, put32};

const NOP: u8 = 1;
const SACK: u8 = 5;
/// Kinds that a SYN may have, and how long they are (RFC 7323 section 3.2, RFC 2018 section 2).
pub(crate) const TIMESTAMPS: (u8, usize) = (8, 10);
pub(crate) const SACK_PERMITTED: (u8, usize) = (4, 2);

/// Where the options of a kind are; nothing that is malformed has a place, nor what is behind it.
fn find(options: &[u8], kind: u8) -> Vec<Range<usize>> {
    let mut places = Vec::new();
    let mut at = 0;
    while at < options.len() && options[at] != 0 {
        if options[at] == NOP {
            at += 1;
            continue;
        }
        let size = options.get(at + 1).copied().map_or(0, usize::from);
        if size < 2 || at + size > options.len() {
            break;
        }
        if options[at] == kind {
            places.push(at..at + size);
        }
        at += size;
    }
    places
}

/// RFC 2018 section 3: two bytes, then blocks of two edges; of another size it is not read.
pub(crate) fn move_sack(options: &mut [u8], shift: u32, blank: bool) {
    for place in find(options, SACK) {
        let sack = &mut options[place];
        if sack.len() % 8 != 2 {
            continue;
        }
        if blank {
            sack.fill(NOP);
            continue;
        }
        for at in (2..sack.len()).step_by(4) {
            put32(sack, at, get32(sack, at).wrapping_add(shift));
        }
    }
}

/// Replaces every option of a kind and of its length.
pub(crate) fn blank(options: &mut [u8], (kind, bytes): (u8, usize)) {
    for place in find(options, kind) {
        if place.len() == bytes {
            options[place].fill(NOP);
        }
    }
}
