//! Where the fields of the kernel's own types are, from its type information (`Documentation/bpf/btf.rst`).

use std::path::Path;
use std::{fs, io};

/// The types of the running kernel.
const VMLINUX: &str = "/sys/kernel/btf/vmlinux";
const MAGIC: [u8; 2] = 0xeb9f_u16.to_ne_bytes();
/// Bytes of `struct btf_header` and `struct btf_type`, and of a member of a structure.
const HEADER: usize = 24;
const TYPE: usize = 12;
const MEMBER: usize = 12;
const STRUCT: u32 = 4;

/// Type information as the kernel shows it.
#[derive(Debug)]
pub(super) struct Types {
    types: Vec<u8>,
    names: Vec<u8>,
}

impl Types {
    /// Those of the running kernel.
    pub(super) fn of_kernel() -> io::Result<Self> {
        let bytes = fs::read(Path::new(VMLINUX))?;
        Self::parse(&bytes).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        if bytes.get(..2)? != MAGIC {
            return None;
        }
        let body = bytes.get(word(bytes, 4)? as usize..)?;
        let part = |at: usize| {
            let (begin, length) = (word(bytes, at)? as usize, word(bytes, at + 4)? as usize);
            Some(body.get(begin..begin.checked_add(length)?)?.to_vec())
        };
        (bytes.len() >= HEADER).then_some(())?;
        Some(Self {
            types: part(8)?,
            names: part(16)?,
        })
    }

    /// In bytes from the beginning of the structure; `None` where there is no such field, or it is a
    /// part of a byte.
    pub(super) fn field(&self, structure: &str, field: &str) -> Option<u32> {
        let mut at = 0;
        loop {
            let name = word(&self.types, at)?;
            let info = word(&self.types, at + 4)?;
            let count = (info & 0xffff) as usize;
            let kind = info >> 24 & 0x1f;
            let begin = at + TYPE;
            if kind == STRUCT && self.is_name(name, structure) {
                let members = self.types.get(begin..begin + count * MEMBER)?;
                return self.offset(members, field);
            }
            at = begin + rest(kind, count)?;
        }
    }

    fn offset(&self, members: &[u8], field: &str) -> Option<u32> {
        let (members, _) = members.as_chunks::<MEMBER>();
        let member = members
            .iter()
            .find(|member| word(*member, 0).is_some_and(|name| self.is_name(name, field)))?;
        // In a structure with bit fields, the high byte is the size of one.
        let bits = word(member, 8)? & 0x00ff_ffff;
        bits.is_multiple_of(8).then_some(bits / 8)
    }

    fn is_name(&self, at: u32, name: &str) -> bool {
        let there = self.names.get(at as usize..).unwrap_or_default();
        there.strip_prefix(name.as_bytes()).and_then(<[u8]>::first) == Some(&0)
    }
}

/// Bytes that follow the header of a type of this kind.
fn rest(kind: u32, count: usize) -> Option<usize> {
    let bytes = match kind {
        // An integer, a variable, a tag on a declaration.
        1 | 14 | 17 => 4,
        // Pointer, forward declaration, typedef, the three qualifiers, function, float, tag on a type.
        2 | 7..=12 | 16 | 18 => 0,
        // An array.
        3 => 12,
        // Structure, union, section, 64-bit enumeration.
        STRUCT | 5 | 15 | 19 => count * 12,
        // Enumeration, parameters of a function.
        6 | 13 => count * 8,
        _ => return None,
    };
    Some(bytes)
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::Types;

    /// `struct pair { int first; int second; }`, behind an integer of that name.
    fn pair() -> Vec<u8> {
        let names = b"\0int\0pair\0first\0second\0";
        let types: [u32; 4 + 3 + 6] = [
            1,
            1 << 24,
            4,
            32, //
            5,
            4 << 24 | 2,
            8, //
            10,
            1,
            0, //
            16,
            1,
            32,
        ];
        let length = |bytes: usize| u32::try_from(bytes).unwrap();
        let mut bytes = vec![0x9f, 0xeb, 1, 0];
        let types_length = length(size_of_val(&types));
        for word in [24, 0, types_length, types_length, length(names.len())] {
            bytes.extend(word.to_ne_bytes());
        }
        bytes.extend(types.iter().flat_map(|word| word.to_ne_bytes()));
        bytes.extend(names);
        bytes
    }

    #[test]
    fn finds_a_field() {
        let types = Types::parse(&pair()).unwrap();

        assert_eq!(types.field("pair", "first"), Some(0));
        assert_eq!(types.field("pair", "second"), Some(4));
        assert_eq!(types.field("pair", "sec"), None);
        assert_eq!(types.field("int", "first"), None);
    }

    #[test]
    fn takes_no_part_for_the_whole() {
        let whole = pair();

        for length in 0..whole.len() {
            let part = Types::parse(&whole[..length]);
            assert!(part.is_none_or(|types| types.field("pair", "second").is_none()));
        }
    }
}
