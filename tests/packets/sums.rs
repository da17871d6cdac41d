//! Integers in network order, and checksums that stay as right or wrong as they were.

use crate::parts::Parts;

pub(crate) fn get16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

pub(crate) fn get32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

pub(crate) fn put16(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

pub(crate) fn put32(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
}

/// Brings both checksums of a segment up to date: the sum of what each covers is what it was.
pub(crate) fn adjust(packet: &mut [u8], before: &[u8], parts: &Parts) {
    if parts.is_v4 {
        let header = parts.hops - 8..parts.tcp;
        balance(
            packet,
            parts.hops + 2,
            |packet| sum(&packet[header.clone()]),
            before,
        );
    }
    let addresses = if parts.is_v4 { 8 } else { 32 };
    let addresses = parts.addresses..parts.addresses + addresses;
    let covered = |packet: &[u8]| sum(&packet[addresses.clone()]) + sum(&packet[parts.tcp..]);
    balance(packet, parts.tcp + 16, covered, before);
}

/// Sets the checksum at an offset so that the sum of `covered`, itself included, is as `before`.
pub(crate) fn balance(
    packet: &mut [u8],
    checksum: usize,
    covered: impl Fn(&[u8]) -> u64,
    before: &[u8],
) {
    put16(packet, checksum, 0);
    // Ones' complement is arithmetic modulo 0xffff; 0xffff and 0 are the same there.
    let missing = (covered(before) % 0xffff + 0xffff - covered(packet) % 0xffff) % 0xffff;
    put16(
        packet,
        checksum,
        u16::try_from(missing).expect("it is a remainder"),
    );
}

/// The sum of 16-bit words, the last filled up with zero.
pub(crate) fn sum(bytes: &[u8]) -> u64 {
    bytes
        .chunks(2)
        .map(|pair| u64::from(pair[0]) << 8 | u64::from(*pair.get(1).unwrap_or(&0)))
        .sum()
}

/// Whether two packets are the same but for how zero is written in the checksums at these offsets.
pub(crate) fn are_equal(one: &[u8], other: &[u8], checksums: &[usize]) -> bool {
    let canonical = |bytes: &[u8]| {
        let mut bytes = bytes.to_vec();
        for at in checksums {
            if bytes.len() >= at + 2 && get16(&bytes, *at) == 0xffff {
                put16(&mut bytes, *at, 0);
            }
        }
        bytes
    };
    one == other || canonical(one) == canonical(other)
}
