//! TCP options as RFC 9293 section 3.1 has them, for the model.

use std::ops::Range;

use crate::sums::{get32, put32};

const NOP: u8 = 1;
const SACK: u8 = 5;
const TIMESTAMPS: u8 = 8;

/// Where the first option of a kind is; nothing that is malformed has a place, nor what is behind it.
fn find(options: &[u8], kind: u8) -> Option<Range<usize>> {
    let mut at = 0;
    loop {
        match *options.get(at)? {
            0 => return None,
            NOP => at += 1,
            found => {
                let size = usize::from(*options.get(at + 1)?);
                if size < 2 || at + size > options.len() {
                    return None;
                }
                if found == kind {
                    return Some(at..at + size);
                }
                at += size;
            }
        }
    }
}

/// RFC 2018 section 3: two bytes, then blocks of two edges; of another size it is not read.
pub(crate) fn move_sack(options: &mut [u8], shift: u32, blank: bool) {
    let Some(place) = find(options, SACK) else {
        return;
    };
    let sack = &mut options[place];
    if sack.len() % 8 != 2 {
        return;
    }
    if blank {
        sack.fill(NOP);
    } else {
        for at in (2..sack.len()).step_by(4) {
            put32(sack, at, get32(sack, at).wrapping_add(shift));
        }
    }
}

/// RFC 7323 section 3.2: ten bytes.
pub(crate) fn blank_timestamps(options: &mut [u8]) {
    if let Some(place) = find(options, TIMESTAMPS)
        && place.len() == 10
    {
        options[place].fill(NOP);
    }
}
