//! A cursor over a packet that is still arriving.

use std::mem;
use std::str;

use super::malformed::{Malformed, What};

/// Reads one field after the other and cannot run off the end.
///
/// A field that is not whole yet is [`Stop::More`]; the caller comes back to the start of
/// that field with more bytes. Only text is looked at before it is whole, and `proven`
/// remembers how far, so feeding a packet byte by byte stays linear.
#[derive(Debug)]
pub(super) struct Cursor<'a> {
    /// Everything received so far, from the first byte of the packet.
    pub(super) bytes: &'a [u8],
    /// Offset of the next byte.
    pub(super) at: usize,
    /// Offset behind the last byte that may be read.
    pub(super) end: usize,
    /// No text before this offset needs another look.
    pub(super) proven: usize,
}

/// Why a field was not read.
#[derive(Debug)]
pub(super) enum Stop {
    Malformed(Malformed),
    More,
}

/// Where a text or a byte string lies in the packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    start: usize,
    end: usize,
}

impl<'a> Cursor<'a> {
    /// A cursor at the first byte of a packet whose end is not known.
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            at: 0,
            end: usize::MAX,
            proven: 0,
        }
    }

    /// Reads the remaining length, which tells where the packet ends; `limit` is the most
    /// bytes the whole packet may have.
    pub(super) fn packet_end(&mut self, limit: usize) -> Result<usize, Stop> {
        let remaining = self.length("remaining length")?;

        let size = self.at + remaining;
        if size > limit {
            return Err(self.wrong(What::PacketTooLarge { size, limit }));
        }
        self.end = size;
        Ok(size)
    }

    /// Reads a variable byte integer: 0 to 268,435,455.
    pub(super) fn length(&mut self, field: &'static str) -> Result<usize, Stop> {
        let mut value = 0;
        for shift in [0, 7, 14, 21] {
            let byte = self.u8(field)?;
            value |= usize::from(byte & 0x7f) << shift;
            // [MQTT5-1.5.5-1]: no zero byte may lengthen it.
            if byte == 0 && shift != 0 {
                return Err(self.wrong(What::Length(field)));
            }
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(self.wrong(What::Length(field)))
    }

    pub(super) fn u8(&mut self, field: &'static str) -> Result<u8, Stop> {
        let [byte] = self.array(field)?;
        Ok(byte)
    }

    pub(super) fn u16(&mut self, field: &'static str) -> Result<u16, Stop> {
        self.array(field).map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self, field: &'static str) -> Result<u32, Stop> {
        self.array(field).map(u32::from_be_bytes)
    }

    /// Skips bytes that carry their length in front.
    pub(super) fn binary(&mut self, field: &'static str) -> Result<Span, Stop> {
        let span = self.sized(field)?;

        if self.bytes.len() < span.end {
            return Err(Stop::More);
        }
        self.at = span.end;
        Ok(span)
    }

    /// Reads a text without U+0000.
    pub(super) fn text(&mut self, field: &'static str) -> Result<Span, Stop> {
        // [MQTT-1.5.3-2]
        self.characters(field, |byte| byte == 0)
    }

    /// Reads the name of one topic: a text without wildcards.
    pub(super) fn topic(&mut self, field: &'static str) -> Result<Span, Stop> {
        // [MQTT-3.3.2-2]
        self.characters(field, |byte| matches!(byte, 0 | b'+' | b'#'))
    }

    /// Lets `read` see no further than `end`.
    pub(super) fn within<T>(
        &mut self,
        end: usize,
        read: impl FnOnce(&mut Self) -> Result<T, Stop>,
    ) -> Result<T, Stop> {
        let outer = mem::replace(&mut self.end, end);
        let result = read(self);
        self.end = outer;
        result
    }

    /// Checks that nothing is left behind the last field.
    pub(super) fn finish(&self) -> Result<(), Stop> {
        match self.left() {
            0 => Ok(()),
            left => Err(self.wrong(What::LeftOver(left))),
        }
    }

    /// Bytes that may still be read, arrived or not.
    pub(super) const fn left(&self) -> usize {
        self.end - self.at
    }

    /// Blames the byte that was read last: it is the one that told.
    pub(super) fn wrong(&self, what: What) -> Stop {
        self.wrong_at(self.at.saturating_sub(1), what)
    }

    fn wrong_at(&self, at: usize, what: What) -> Stop {
        Stop::Malformed(Malformed {
            at,
            byte: self.bytes.get(at).copied().unwrap_or_default(),
            what,
            version: None,
        })
    }

    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], Stop> {
        self.fits(N, field)?;

        let array = self.bytes.get(self.at..).and_then(<[u8]>::first_chunk);
        let array = array.ok_or(Stop::More)?;
        self.at += N;
        Ok(*array)
    }

    /// Reads two bytes of length, and tells where what they announce lies.
    fn sized(&mut self, field: &'static str) -> Result<Span, Stop> {
        let len = usize::from(self.u16(field)?);
        self.fits(len, field)?;

        Ok(Span {
            start: self.at,
            end: self.at + len,
        })
    }

    fn fits(&self, len: usize, field: &'static str) -> Result<(), Stop> {
        if len > self.left() {
            return Err(self.wrong(What::DoesNotFit(field)));
        }
        Ok(())
    }

    fn characters(
        &mut self,
        field: &'static str,
        is_forbidden: fn(u8) -> bool,
    ) -> Result<Span, Stop> {
        let span = self.sized(field)?;
        let from = self.proven.max(span.start);
        let arrived = self.bytes.len().min(span.end);
        let fresh = self.bytes.get(from..arrived).unwrap_or_default();

        match sound_bytes(fresh, is_forbidden) {
            Ok(len) => self.proven = from + len,
            Err((offset, what)) => return Err(self.wrong_at(from + offset, what(field))),
        }
        if arrived < span.end {
            return Err(Stop::More);
        }
        self.at = span.end;
        if self.proven < span.end {
            return Err(self.wrong(What::Utf8(field)));
        }
        Ok(span)
    }
}

/// Names what is wrong with the field of that name.
type Flaw = fn(&'static str) -> What;

/// Counts the bytes of whole and allowed characters at the front of a text, or finds the
/// first byte that no text goes on with.
fn sound_bytes(text: &[u8], is_forbidden: fn(u8) -> bool) -> Result<usize, (usize, Flaw)> {
    let (len, broken) = match str::from_utf8(text) {
        Ok(_) => (text.len(), None),
        Err(error) => (error.valid_up_to(), error.error_len()),
    };
    if let Some(offset) = text[..len].iter().position(|byte| is_forbidden(*byte)) {
        return Err((offset, What::Character));
    }
    // [MQTT-1.5.3-1]: the byte that starts a character is wrong, or the one that goes on.
    match broken {
        None => Ok(len),
        Some(behind) if matches!(text[len], 0xc2..=0xf4) => Err((len + behind, What::Utf8)),
        Some(_) => Err((len, What::Utf8)),
    }
}

impl Span {
    pub(super) const EMPTY: Self = Self { start: 0, end: 0 };

    pub(super) const fn is_empty(self) -> bool {
        self.start == self.end
    }

    /// The text at this place of `packet`, which [`Cursor`] has read as text.
    pub(super) fn text(self, packet: &[u8]) -> &str {
        str::from_utf8(&packet[self.start..self.end]).expect("the cursor let only UTF-8 through")
    }
}

#[cfg(test)]
mod tests {
    use super::{Cursor, Stop};

    #[test]
    fn looks_at_no_byte_of_a_text_twice() {
        let mut cursor = Cursor::new(b"\0\x06ab\xe2\x82");
        assert!(matches!(cursor.text("name"), Err(Stop::More)));
        assert_eq!(cursor.proven, 4);

        // The two letters are no longer UTF-8, and the cursor does not notice.
        let mut again = Cursor {
            proven: cursor.proven,
            ..Cursor::new(b"\0\x06\xff\xff\xe2\x82\xacd")
        };
        assert!(again.text("name").is_ok());
        assert_eq!(again.at, 8);
    }

    #[test]
    fn reads_lengths_of_one_to_four_bytes() {
        for (bytes, value) in [
            (b"\0".as_slice(), 0),
            (b"\x7f", 127),
            (b"\x80\x01", 128),
            (b"\xff\x7f", 16_383),
            (b"\x80\x80\x01", 16_384),
            (b"\xff\xff\xff\x7f", 268_435_455),
        ] {
            let mut cursor = Cursor::new(bytes);

            assert_eq!(cursor.length("length").unwrap(), value);
            assert_eq!(cursor.at, bytes.len());
        }
    }
}
