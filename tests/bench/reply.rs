//! What the stand-in answers, from any cut of the client's bytes.

use std::io;

const CONNECT: u8 = 1;
const PUBLISH: u8 = 3;
const PINGREQ: u8 = 12;

const CONNACK: [u8; 4] = [0x20, 2, 0, 0];
const PINGRESP: [u8; 2] = [0xD0, 0];

/// One byte and a length of at most four.
const HEADER_BYTES: usize = 5;

/// Where in a packet a client is.
#[derive(Default)]
pub(crate) struct Reply {
    /// A header that is not whole yet.
    header: Vec<u8>,
    body: Body,
}

#[derive(Default, Clone, Copy)]
enum Body {
    #[default]
    None,
    /// So many more bytes are sent back.
    Echoed(usize),
    /// So many more bytes are of no interest.
    Skipped(usize),
}

impl Reply {
    /// Appends to `out` what answers the next bytes of the client.
    pub(crate) fn to(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        while !bytes.is_empty() {
            bytes = match self.body {
                Body::None => self.begin(bytes, out)?,
                Body::Echoed(left) => {
                    let (now, rest) = bytes.split_at(left.min(bytes.len()));
                    out.extend_from_slice(now);
                    self.body = rest_of(left - now.len(), Body::Echoed);
                    rest
                }
                Body::Skipped(left) => {
                    let (now, rest) = bytes.split_at(left.min(bytes.len()));
                    self.body = rest_of(left - now.len(), Body::Skipped);
                    rest
                }
            };
        }
        Ok(())
    }

    /// Takes one byte of a header.
    fn begin<'b>(&mut self, bytes: &'b [u8], out: &mut Vec<u8>) -> io::Result<&'b [u8]> {
        let Some((byte, rest)) = bytes.split_first() else {
            return Ok(bytes);
        };
        self.header.push(*byte);
        if self.header.len() == 1 || byte & 0x80 != 0 {
            if self.header.len() == HEADER_BYTES {
                return Err(io::Error::other("a length of more than four bytes"));
            }
            return Ok(rest);
        }

        let length = self.header[1..]
            .iter()
            .rev()
            .fold(0, |length, byte| length << 7 | usize::from(byte & 0x7F));
        match self.header[0] >> 4 {
            CONNECT => out.extend(CONNACK),
            PINGREQ => out.extend(PINGRESP),
            PUBLISH => out.extend(&self.header),
            _ => {}
        }
        let body = if self.header[0] >> 4 == PUBLISH {
            Body::Echoed
        } else {
            Body::Skipped
        };
        self.body = rest_of(length, body);
        self.header.clear();
        Ok(rest)
    }
}

fn rest_of(left: usize, body: fn(usize) -> Body) -> Body {
    if left == 0 { Body::None } else { body(left) }
}

#[cfg(test)]
mod tests {
    use super::{CONNACK, PINGRESP, Reply};

    #[test]
    fn answers_the_same_however_the_bytes_are_cut() {
        let mut publish = vec![0x32, 0x82, 0x01];
        publish.extend([7; 130]);
        let asked = [&[0x10, 2, 1, 1, 0xC0, 0], &*publish, &[0xC0, 0]].concat();
        let expected = [&CONNACK, &PINGRESP[..], &publish, &PINGRESP].concat();

        for cut in 1..=asked.len() {
            let mut reply = Reply::default();
            let mut out = Vec::new();
            for part in asked.chunks(cut) {
                reply.to(part, &mut out).unwrap();
            }
            assert_eq!(out, expected, "cut into {cut}");
        }
    }
}
