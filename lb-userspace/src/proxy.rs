//! The PROXY protocol (its specification of 2020-03-05): a few bytes ahead of everything else that tell a
//! backend whose connection this is.

use std::net::SocketAddr;

use bytes::Bytes;
use proxy_header::{ProxiedAddress, ProxyHeader};

use crate::config::ProxyProtocol;

/// The header for a connection between these two, the one who connected first; nothing where none is
/// wished for.
///
/// A check sends the addresses of its own connection: the command for such connections (section 2.2,
/// LOCAL) is one that brokers have crashed on.
pub fn header(protocol: ProxyProtocol, ends: [SocketAddr; 2]) -> Bytes {
    let header = proxied(ends);
    let mut bytes = Vec::new();
    let encoded = match protocol {
        ProxyProtocol::None => Ok(()),
        ProxyProtocol::V1 => header.encode_v1(&mut bytes),
        ProxyProtocol::V2 => header.encode_v2(&mut bytes),
    };
    if let Err(error) = encoded {
        // It is refused for mixed families and for fields that are not there.
        tracing::error!(%error, "no PROXY header");
    }
    bytes.into()
}

fn proxied(ends: [SocketAddr; 2]) -> ProxyHeader<'static> {
    let [from, to] = ends.map(|end| SocketAddr::new(end.ip().to_canonical(), end.port()));
    if from.is_ipv4() == to.is_ipv4() {
        ProxyHeader::with_address(ProxiedAddress::stream(from, to))
    } else {
        // There is no header for that, and no such connection.
        ProxyHeader::with_local()
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use proptest::prelude::*;
    use proxy_header::{ParseConfig, ProxyHeader};

    use super::header;
    use crate::config::ProxyProtocol;

    fn ends(from: &str, to: &str) -> [SocketAddr; 2] {
        [from, to].map(|text| text.parse().unwrap())
    }

    /// The signature, version 2 with PROXY, the family with STREAM, the length.
    fn v2(family: u8, length: u8, rest: &[u8]) -> Vec<u8> {
        let start = [0x21, family, 0, length];
        [b"\r\n\r\n\0\r\nQUIT\n".as_slice(), &start, rest].concat()
    }

    #[test]
    fn writes_what_the_specification_shows() {
        let v4 = ends("192.0.2.9:51234", "198.51.100.1:1883");
        let v6 = ends("[2001:db8::1]:65535", "[2001:db8::2]:1");

        assert_eq!(header(ProxyProtocol::None, v4), "");
        assert_eq!(
            header(ProxyProtocol::V1, v4),
            "PROXY TCP4 192.0.2.9 198.51.100.1 51234 1883\r\n"
        );
        assert_eq!(
            header(ProxyProtocol::V1, v6),
            "PROXY TCP6 2001:db8::1 2001:db8::2 65535 1\r\n"
        );
        let addresses = [192, 0, 2, 9, 198, 51, 100, 1, 0xc8, 0x22, 0x07, 0x5b];
        assert_eq!(header(ProxyProtocol::V2, v4), v2(0x11, 12, &addresses));
        let long = header(ProxyProtocol::V2, v6);
        assert_eq!(long[..16], v2(0x21, 36, &[]));
        assert_eq!(long.len(), 16 + 36);
    }

    proptest! {
        #[test]
        fn what_is_written_can_be_read(from: SocketAddr, to: SocketAddr) {
            for protocol in [ProxyProtocol::V1, ProxyProtocol::V2] {
                let written = header(protocol, [from, to]);
                let (read, length) = ProxyHeader::parse(&written, ParseConfig::default()).unwrap();

                prop_assert_eq!(length, written.len());
                let [from, to] = [from, to].map(|end| (end.ip().to_canonical(), end.port()));
                if let Some(read) = read.proxied_address() {
                    prop_assert_eq!((read.source.ip(), read.source.port()), from);
                    prop_assert_eq!((read.destination.ip(), read.destination.port()), to);
                } else {
                    prop_assert_ne!(from.0.is_ipv4(), to.0.is_ipv4());
                }
            }
        }
    }
}
