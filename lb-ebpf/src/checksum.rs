//! Ones' complement sums of changed words (RFC 1624, equation 3: HC' = ~(~HC + ~m + m')).
//!
//! Words are summed as they lie in memory: the sum does not depend on byte order (RFC 1071).

/// What a change of one word adds.
#[inline(always)]
pub(crate) const fn change(old: u32, new: u32) -> u64 {
    !old as u64 + new as u64
}

/// A sum of up to 2^31 words as one word.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "folded twice, it fits")]
pub(crate) const fn fold(sum: u64) -> u32 {
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    ((sum & 0xffff_ffff) + (sum >> 32)) as u32
}

/// A checksum after its words have changed.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "folded twice, it fits")]
pub(crate) const fn update(checksum: u16, change: u64) -> u16 {
    let sum = fold(!checksum as u64 & 0xffff) as u64 + change;
    let sum = fold(sum);
    let sum = (sum & 0xffff) + (sum >> 16);
    !(((sum & 0xffff) + (sum >> 16)) as u16)
}

#[cfg(test)]
mod tests {
    use super::{change, fold, update};

    /// RFC 1071 section 1, over words in memory order.
    #[expect(clippy::cast_possible_truncation, reason = "folded twice, it fits")]
    fn checksum(words: &[u32]) -> u16 {
        let sum = fold(words.iter().map(|word| u64::from(*word)).sum());
        let sum = (sum & 0xffff) + (sum >> 16);
        !(((sum & 0xffff) + (sum >> 16)) as u16)
    }

    #[test]
    fn an_update_equals_a_new_sum() {
        let mut words = [
            0x4500_0034,
            0x1c46_4000,
            0x4006_0000,
            0xac10_0a63,
            0xffff_ffff,
        ];
        for new in [
            0,
            1,
            0xffff,
            0x1_0000,
            0xffff_0000,
            0xffff_ffff,
            0x1234_5678,
        ] {
            // Version and length of a header are never zero, so neither is the sum of all words.
            for place in 1..words.len() {
                let before = checksum(&words);
                let old = core::mem::replace(&mut words[place], new);
                let after = update(before, change(old, new));
                assert_eq!(after, checksum(&words), "{old:08x} becomes {new:08x}");
            }
        }
    }
}
