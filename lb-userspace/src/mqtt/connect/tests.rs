//! Tests of CONNECT: what is let through, what is refused and where, and what an oracle says.

use bytes::BytesMut;

use super::{Connect, Decoder};
use crate::mqtt::{Malformed, What};

mod accepts;
mod draft;
mod oracle;
mod random;
mod refuses;

/// What the decoder says of `bytes`, however they are cut.
fn decode(bytes: &[u8]) -> Result<Option<Connect>, Malformed> {
    super::fuzz(bytes);
    super::answer(bytes, bytes.len())
}

fn accepted(bytes: &[u8]) -> Connect {
    decode(bytes).unwrap().expect("the packet is whole")
}

/// The offset of the byte that is blamed, and why.
fn refused(bytes: &[u8]) -> (usize, What) {
    let wrong = decode(bytes).expect_err("the packet is malformed");
    (wrong.at, wrong.what)
}

/// A CONNECT with `body` behind its fixed header.
fn packet(body: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x10];
    packet.extend(length(body.len()));
    packet.extend(body);
    packet
}

/// A CONNECT of 5.0 with these properties and no client id.
fn with_properties(properties: &[u8]) -> Vec<u8> {
    let mut body = b"\0\x04MQTT\x05\x02\0\x3c".to_vec();
    body.extend(length(properties.len()));
    body.extend(properties);
    body.extend(b"\0\0");
    packet(&body)
}

/// A variable byte integer.
fn length(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value > 0x7f {
        bytes.push(0x80 | u8::try_from(value & 0x7f).unwrap());
        value >>= 7;
    }
    bytes.push(u8::try_from(value).unwrap());
    bytes
}

/// A text or a byte string with its length in front.
fn sized(content: impl AsRef<[u8]>) -> Vec<u8> {
    let content = content.as_ref();
    let len = u16::try_from(content.len()).unwrap().to_be_bytes();
    [&len, content].concat()
}

/// The packets of the fuzzer's corpus.
fn seeds() -> Vec<Vec<u8>> {
    crate::mqtt::seeds(include_str!("seeds.hex"))
}

/// What is left in the buffer when the CONNECT at its front is taken.
fn taken(bytes: &[u8], limit: usize) -> (Option<Connect>, BytesMut) {
    let mut received = BytesMut::from(bytes);
    let connect = Decoder::new(limit).decode(&mut received).unwrap();
    (connect, received)
}
