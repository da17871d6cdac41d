//! The CONNECT of a health check, and the DISCONNECT after it.

use std::fmt;

use bytes::{BufMut as _, Bytes, BytesMut};

use super::Version;

/// DISCONNECT, in every version [MQTT-3.14.1-1]; in 5.0 without a reason code it is a normal one.
pub const DISCONNECT: [u8; 2] = [0xe0, 0];

/// Seconds; a broker that loses sight of a check forgets it soon.
const KEEP_ALIVE: u16 = 30;

/// Who asks. Each text has at most 65535 bytes; what is beyond is cut off.
#[derive(Clone, Copy)]
pub struct Greeting<'a> {
    pub version: Version,
    pub client_id: &'a str,
    pub user_name: Option<&'a str>,
    /// Only with a user name [MQTT-3.1.2-22].
    pub password: Option<&'a [u8]>,
}

impl fmt::Debug for Greeting<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Greeting")
            .field("client_id", &self.client_id)
            .finish_non_exhaustive()
    }
}

impl Greeting<'_> {
    /// A CONNECT for a session that leaves nothing behind.
    pub fn connect(&self) -> Bytes {
        let mut body = BytesMut::new();
        let name = match self.version {
            Version::V3_1 => "MQIsdp",
            Version::V3_1_1 | Version::V5 => "MQTT",
        };
        put(&mut body, name.as_bytes());
        body.put_u8(self.version.level());
        body.put_u8(self.flags());
        body.put_u16(KEEP_ALIVE);
        if self.version == Version::V5 {
            // No properties.
            body.put_u8(0);
        }
        put(&mut body, self.client_id.as_bytes());
        if let Some(user_name) = self.user_name {
            put(&mut body, user_name.as_bytes());
            if let Some(password) = self.password {
                put(&mut body, password);
            }
        }
        let mut packet = BytesMut::with_capacity(body.len() + 5);
        packet.put_u8(0x10);
        put_length(&mut packet, body.len());
        packet.extend_from_slice(&body);
        packet.freeze()
    }

    fn flags(&self) -> u8 {
        const CLEAN: u8 = 0x02;
        const USER_NAME: u8 = 0x80;
        const PASSWORD: u8 = 0x40;
        match (self.user_name, self.password) {
            (Some(_), Some(_)) => CLEAN | USER_NAME | PASSWORD,
            (Some(_), None) => CLEAN | USER_NAME,
            (None, _) => CLEAN,
        }
    }
}

/// Bytes behind their length [MQTT-1.5.3].
fn put(body: &mut BytesMut, bytes: &[u8]) {
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    body.put_u16(length);
    body.extend_from_slice(&bytes[..usize::from(length)]);
}

/// A Variable Byte Integer.
fn put_length(packet: &mut BytesMut, mut length: usize) {
    loop {
        let low = u8::try_from(length % 128).unwrap_or(0);
        length /= 128;
        if length == 0 {
            packet.put_u8(low);
            return;
        }
        packet.put_u8(low | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::Greeting;
    use crate::mqtt::Version;
    use crate::mqtt::connect::{Connect, Decoder};

    fn decoded(greeting: &Greeting<'_>) -> Connect {
        let mut bytes = BytesMut::from(&greeting.connect()[..]);
        let connect = Decoder::new(1 << 20).decode(&mut bytes).unwrap().unwrap();
        assert!(bytes.is_empty());
        connect
    }

    #[test]
    fn writes_what_the_decoder_reads() {
        let long = "p".repeat(1000);
        for version in [Version::V3_1, Version::V3_1_1, Version::V5] {
            for (user_name, password) in [
                (None, None),
                (Some("sluice"), None),
                (Some("sluice"), Some("secret".as_bytes())),
                (Some("sluice"), Some(long.as_bytes())),
            ] {
                let greeting = Greeting {
                    version,
                    client_id: "sluice-0123456789abcdef",
                    user_name,
                    password,
                };
                let connect = decoded(&greeting);

                assert_eq!(connect.client_id(), greeting.client_id);
                assert_eq!(connect.version(), version);
                assert!(connect.clean_start());
                assert_eq!(connect.keep_alive(), super::KEEP_ALIVE);
            }
        }
    }

    #[test]
    fn writes_just_these_bytes() {
        let greeting = Greeting {
            version: Version::V3_1_1,
            client_id: "a",
            user_name: Some("u"),
            password: Some(b"p"),
        };

        let mut expected = vec![0x10, 19, 0, 4];
        expected.extend(b"MQTT");
        expected.extend([4, 0xc2, 0, 30, 0, 1, b'a', 0, 1, b'u', 0, 1, b'p']);
        assert_eq!(greeting.connect(), expected);
    }
}
