//! The few MQTT 3.1.1 packets that the load generator sends and expects.

pub(crate) const CONNACK: [u8; 4] = [0x20, 2, 0, 0];
/// To the only SUBSCRIBE of a connection: QoS 0.
pub(crate) const SUBACK: [u8; 5] = [0x90, 3, 0, 1, 0];
pub(crate) const DISCONNECT: [u8; 2] = [0xE0, 0];
const PINGREQ: [u8; 2] = [0xC0, 0];
const PUBLISH: u8 = 0x30;
/// With its length before it.
pub(crate) const TOPIC: &[u8] = b"\x00\x05bench";

/// A CONNECT with a clean session and no keep-alive.
pub(crate) fn connect(client_id: &str) -> Vec<u8> {
    let mut body = b"\x00\x04MQTT\x04\x02\x00\x00".to_vec();
    let length = u16::try_from(client_id.len()).unwrap_or(u16::MAX);
    body.extend(length.to_be_bytes());
    body.extend(client_id.as_bytes());
    packet(0x10, &body)
}

/// A SUBSCRIBE to one topic at QoS 0.
pub(crate) fn subscribe(topic: &[u8]) -> Vec<u8> {
    packet(0x82, &[b"\x00\x01", topic, b"\x00"].concat())
}

/// A message that the broker answers with as many bytes: of two bytes a PINGREQ, otherwise a
/// PUBLISH at QoS 0.
pub(crate) fn message(bytes: usize) -> Vec<u8> {
    message_to(TOPIC, bytes)
}

/// The same to a topic with its length before it.
pub(crate) fn message_to(topic: &[u8], bytes: usize) -> Vec<u8> {
    if bytes <= PINGREQ.len() {
        return PINGREQ.to_vec();
    }
    // The length field of longer packets is longer, up to four bytes.
    let mut body = topic.to_vec();
    body.resize(bytes.saturating_sub(2).max(topic.len()), b'x');
    while packet(PUBLISH, &body).len() > bytes && body.len() > topic.len() {
        body.pop();
    }
    packet(PUBLISH, &body)
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![first];
    let mut left = body.len();
    loop {
        let low = u8::try_from(left & 0x7F).unwrap_or_default();
        left >>= 7;
        packet.push(if left == 0 { low } else { low | 0x80 });
        if left == 0 {
            break;
        }
    }
    packet.extend(body);
    packet
}

#[cfg(test)]
mod tests {
    use super::message;

    #[test]
    fn messages_are_as_long_as_asked() {
        for bytes in [2, 64, 129, 1024, 16_384, 65_536] {
            assert_eq!(message(bytes).len(), bytes);
        }
    }
}
