//! Marks the text in a kernel object's type information, so that bpftool prints it as text.
//!
//! Rust has no `char` of C: a text is an `[i8; N]`, which BTF describes as an array of signed
//! integers. bpftool prints an array as text when its elements are encoded as characters, so
//! the integer type `i8` gets that encoding. The formats are those of the System V ELF
//! specification and of Documentation/bpf/btf.rst in the kernel's source.

use std::ops::Range;

use anyhow::{Context as _, Result, bail, ensure};

const ELF64_LITTLE_ENDIAN: &[u8] = b"\x7fELF\x02\x01";
const SECTION_HEADER_BYTES: usize = 64;
const BTF_MAGIC: u16 = 0xeb9f;
const BTF_TYPE_BYTES: usize = 12;
/// Encoding bits 24 to 27 of an integer type: 1 is signed, 2 a character, 4 a boolean.
const ENCODING_MASK: u32 = 0x0f00_0000;
const ENCODING_CHAR: u32 = 2 << 24;

/// Encodes every integer type named `i8` in the `.BTF` section of `object` as a character and
/// returns how many there were.
///
/// # Errors
///
/// Says what is wrong with the ELF file or its type information; `object` is then of no use.
pub(crate) fn mark_text(object: &mut [u8]) -> Result<usize> {
    let section = find_section(object, b".BTF")?;
    let btf = object
        .get_mut(section)
        .context("section .BTF ends outside the file")?;
    let texts = find_texts(btf)?;

    for &at in &texts {
        let value = u32_at(btf, at)? & !ENCODING_MASK | ENCODING_CHAR;
        btf[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }
    Ok(texts.len())
}

/// Finds the bytes of a named section through the section headers (`Elf64_Shdr`).
fn find_section(elf: &[u8], wanted: &[u8]) -> Result<Range<usize>> {
    ensure!(
        elf.starts_with(ELF64_LITTLE_ENDIAN),
        "not a 64-bit little-endian ELF file"
    );
    let start = usize_at(elf, 0x28)?;
    let size = usize::from(u16_at(elf, 0x3a)?);
    let count = usize::from(u16_at(elf, 0x3c)?);
    let names = usize::from(u16_at(elf, 0x3e)?);
    ensure!(
        size == SECTION_HEADER_BYTES,
        "ELF section headers of {size} bytes"
    );
    ensure!(names < count, "no ELF section {names}, only {count}");

    let headers = elf.get(start..).context("no ELF section headers")?;
    let headers: Vec<_> = headers.chunks_exact(size).take(count).collect();
    ensure!(headers.len() == count, "ELF section headers cut short");
    let names = elf
        .get(section_bytes(headers[names])?)
        .context("ELF section names outside the file")?;
    for header in headers {
        if name_at(names, u32_at(header, 0)?)? == wanted {
            return section_bytes(header);
        }
    }
    bail!(
        "no section {}: was it linked with --btf?",
        String::from_utf8_lossy(wanted)
    );
}

fn section_bytes(header: &[u8]) -> Result<Range<usize>> {
    let start = usize_at(header, 0x18)?;
    let end = start.checked_add(usize_at(header, 0x20)?);
    Ok(start..end.context("an ELF section ends past all memory")?)
}

/// Walks the types and finds the integer word of each one that holds text.
fn find_texts(btf: &[u8]) -> Result<Vec<usize>> {
    let magic = u16_at(btf, 0)?;
    ensure!(
        magic == BTF_MAGIC,
        "BTF begins with {magic:#06x}, not {BTF_MAGIC:#06x}"
    );
    let version = *btf.get(2).context("BTF ends in its header")?;
    ensure!(version == 1, "BTF of version {version}, not 1");
    let types = part(btf, 8)?;
    let names = btf
        .get(part(btf, 16)?)
        .context("BTF names end outside the section")?;
    ensure!(
        types.end <= btf.len(),
        "the BTF types end outside the section"
    );

    let mut texts = Vec::new();
    let mut at = types.start;
    while at < types.end {
        let info = u32_at(btf, at + 4)?;
        let tail = at + BTF_TYPE_BYTES;
        let kind = Kind::of(info).with_context(|| format!("BTF type at byte {at}"))?;
        if matches!(kind, Kind::Int) && name_at(names, u32_at(btf, at)?)? == b"i8" {
            let bits = u32_at(btf, tail)? & 0xff;
            ensure!(bits == 8, "BTF calls an integer of {bits} bits i8");
            texts.push(tail);
        }
        at = tail + kind.tail_bytes();
    }
    ensure!(
        at == types.end,
        "the last BTF type ends at byte {at}, not {}",
        types.end
    );
    Ok(texts)
}

/// A part of BTF, from the offset and length that the header holds at `field`.
fn part(btf: &[u8], field: usize) -> Result<Range<usize>> {
    let header_bytes = usize::try_from(u32_at(btf, 4)?)?;
    let offset = usize::try_from(u32_at(btf, field)?)?;
    let bytes = usize::try_from(u32_at(btf, field + 4)?)?;
    let start = header_bytes.saturating_add(offset);
    Ok(start..start.saturating_add(bytes))
}

/// What follows the 12 bytes that every type begins with.
enum Kind {
    Int,
    Other { tail_bytes: usize },
}

impl Kind {
    fn of(info: u32) -> Result<Self> {
        let members = usize::try_from(info & 0xffff)?;
        let tail_bytes = match info >> 24 & 0x1f {
            1 => return Ok(Self::Int),
            // Pointer, forward, typedef, volatile, const, restrict, function, float, type tag.
            2 | 7..=12 | 16 | 18 => 0,
            // Array.
            3 => 12,
            // Structure, union, data section, 64-bit enumeration.
            4 | 5 | 15 | 19 => 12 * members,
            // Enumeration, function prototype.
            6 | 13 => 8 * members,
            // Variable, declaration tag.
            14 | 17 => 4,
            unknown => bail!("kind {unknown} is not known"),
        };
        Ok(Self::Other { tail_bytes })
    }

    fn tail_bytes(&self) -> usize {
        match *self {
            Self::Int => 4,
            Self::Other { tail_bytes } => tail_bytes,
        }
    }
}

/// The bytes of a name, up to its zero.
fn name_at(names: &[u8], offset: u32) -> Result<&[u8]> {
    let name = names
        .get(usize::try_from(offset)?..)
        .with_context(|| format!("a name at byte {offset} of {}", names.len()))?;
    let end = name
        .iter()
        .position(|&byte| byte == 0)
        .context("a name without an end")?;
    Ok(&name[..end])
}

fn u16_at(bytes: &[u8], at: usize) -> Result<u16> {
    Ok(u16::from_le_bytes(array_at(bytes, at)?))
}

fn u32_at(bytes: &[u8], at: usize) -> Result<u32> {
    Ok(u32::from_le_bytes(array_at(bytes, at)?))
}

fn usize_at(bytes: &[u8], at: usize) -> Result<usize> {
    Ok(usize::try_from(u64::from_le_bytes(array_at(bytes, at)?))?)
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N]> {
    bytes
        .get(at..)
        .and_then(|rest| rest.first_chunk())
        .copied()
        .with_context(|| format!("{N} bytes wanted at byte {at} of {}", bytes.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const INT: u32 = 1 << 24;
    const ARRAY: u32 = 3 << 24;
    const STRUCT_OF_ONE: u32 = 4 << 24 | 1;
    const SIGNED_BYTE: u32 = 1 << 24 | 8;
    const UNSIGNED_BYTE: u32 = 8;
    const NAMES: &[u8] = b"\0i8\0u8\0Client\0";
    const I8: u32 = 1;
    const U8: u32 = 4;
    const CLIENT: u32 = 7;

    #[test]
    fn marks_i8_and_nothing_else() {
        let types = [
            &[CLIENT, STRUCT_OF_ONE, 24, I8, 2, 0][..],
            &[0, ARRAY, 0, 3, 4, 24],
            &[I8, INT, 1, SIGNED_BYTE],
            &[U8, INT, 1, UNSIGNED_BYTE],
        ]
        .concat();
        let mut object = object_of(&types);
        let before = object.clone();

        let marked = mark_text(&mut object).unwrap();

        let changed: Vec<_> = (0..object.len())
            .filter(|&at| object[at] != before[at])
            .map(|at| (before[at], object[at]))
            .collect();
        assert_eq!(marked, 1);
        assert_eq!(changed, [(1, 2)]);
    }

    #[test]
    fn refuses_every_shorter_object() {
        let whole = object_of(&[I8, INT, 1, SIGNED_BYTE]);

        for bytes in 0..whole.len() {
            assert!(mark_text(&mut whole[..bytes].to_vec()).is_err(), "{bytes}");
        }
    }

    #[test]
    fn never_panics_on_a_changed_byte() {
        let whole = object_of(&[I8, INT, 1, SIGNED_BYTE]);

        for at in 0..whole.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut object = whole.clone();
                object[at] = value;
                if mark_text(&mut object).is_ok() {
                    assert_eq!(object.len(), whole.len());
                }
            }
        }
    }

    #[test]
    fn names_the_kind_it_does_not_know() {
        let mut object = object_of(&[I8, 31 << 24, 1, SIGNED_BYTE]);

        let refusal = mark_text(&mut object).unwrap_err();

        assert_eq!(
            format!("{refusal:#}"),
            "BTF type at byte 24: kind 31 is not known"
        );
    }

    #[test]
    fn refuses_a_type_that_runs_over_the_end() {
        let mut object = object_of(&[CLIENT, STRUCT_OF_ONE, 24]);

        let refusal = mark_text(&mut object).unwrap_err();

        assert_eq!(
            refusal.to_string(),
            "the last BTF type ends at byte 48, not 36"
        );
    }

    /// An ELF file of two sections: `.BTF` with these types, and the names of the sections.
    fn object_of(types: &[u32]) -> Vec<u8> {
        let btf = btf_of(types);
        let section_names = b".BTF\0.names\0";
        let btf_at = SECTION_HEADER_BYTES;
        let names_at = btf_at + btf.len();
        let headers_at = names_at + section_names.len();

        let mut object = vec![0; SECTION_HEADER_BYTES];
        object[..6].copy_from_slice(ELF64_LITTLE_ENDIAN);
        object[0x28..0x30].copy_from_slice(&(headers_at as u64).to_le_bytes());
        object[0x3a..0x40].copy_from_slice(&[64, 0, 2, 0, 1, 0]);
        object.extend(btf.iter().chain(section_names));
        for (name, at, bytes) in [
            (0_u32, btf_at, btf.len()),
            (5, names_at, section_names.len()),
        ] {
            let mut header = [0; SECTION_HEADER_BYTES];
            header[..4].copy_from_slice(&name.to_le_bytes());
            header[0x18..0x20].copy_from_slice(&(at as u64).to_le_bytes());
            header[0x20..0x28].copy_from_slice(&(bytes as u64).to_le_bytes());
            object.extend(header);
        }
        object
    }

    fn btf_of(types: &[u32]) -> Vec<u8> {
        let types: Vec<u8> = types.iter().flat_map(|word| word.to_le_bytes()).collect();
        let types_bytes = u32::try_from(types.len()).unwrap();
        let names_bytes = u32::try_from(NAMES.len()).unwrap();

        let mut btf = vec![0x9f, 0xeb, 1, 0];
        for word in [24, 0, types_bytes, types_bytes, names_bytes] {
            btf.extend(u32::to_le_bytes(word));
        }
        btf.extend(types.iter().chain(NAMES));
        btf
    }
}
