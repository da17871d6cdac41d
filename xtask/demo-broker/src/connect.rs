//! The first bytes of a client: enough of CONNECT to know its version.

use std::io::{self, Read};

/// Packet type, length of one to four bytes, protocol name and level fit in this many.
const GREETING_BYTES: usize = 13;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// 3.1 and 3.1.1.
    V4,
    V5,
}

/// The bytes that were read, which the broker wants as well.
pub(crate) struct Greeting {
    pub(crate) version: Version,
    pub(crate) bytes: Vec<u8>,
}

/// Reads until the protocol level is known.
///
/// # Errors
///
/// When the client ends first, or sends something that is not a CONNECT.
pub(crate) fn read(client: &mut impl Read) -> io::Result<Greeting> {
    let mut bytes = Vec::with_capacity(GREETING_BYTES);
    loop {
        if let Some(version) = version_in(&bytes) {
            return Ok(Greeting { version, bytes });
        }
        if bytes.len() == GREETING_BYTES {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "no CONNECT"));
        }
        let mut next = [0];
        client.read_exact(&mut next)?;
        bytes.extend(next);
    }
}

/// The version, once its byte is there: after the packet type, the remaining length and a name.
fn version_in(bytes: &[u8]) -> Option<Version> {
    let length_bytes = 1 + bytes.iter().skip(1).position(|byte| byte & 0x80 == 0)?;
    let name = bytes.get(1 + length_bytes..)?;
    let name_bytes = usize::from(u16::from_be_bytes(*name.first_chunk()?));
    let level = *name.get(2 + name_bytes)?;
    Some(if level & 0x7f == 5 {
        Version::V5
    } else {
        Version::V4
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_the_versions_apart_and_reads_no_further() {
        let v4 = b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00";
        let v5 = b"\x10\x8d\x01\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x00";
        let v3 = b"\x10\x0e\x00\x06MQIsdp\x03\x02\x00\x3c\x00\x00";

        for (packet, version, read_bytes) in [
            (&v4[..], Version::V4, 9),
            (v5, Version::V5, 10),
            (v3, Version::V4, 11),
        ] {
            let greeting = read(&mut &*packet).unwrap();

            assert_eq!(greeting.version, version);
            assert_eq!(greeting.bytes, packet[..read_bytes]);
        }
    }

    #[test]
    fn gives_up_on_other_protocols() {
        let refusal = read(&mut &b"GET / HTTP/1.1\r\n\r\n"[..]).map(|greeting| greeting.bytes);

        assert_eq!(refusal.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
