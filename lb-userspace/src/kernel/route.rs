//! Which way packets to an address leave this host (rtnetlink(7), `RTM_GETROUTE`).

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use socket2::Socket;

use self::changes::Changes;
use super::netlink::{self, Answer, Message, NETLINK_ROUTE, next_attribute, octets};
use crate::sys;

mod changes;

/// Numbers of `linux/rtnetlink.h`.
const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;
const RTA_DST: u16 = 1;
const RTA_SRC: u16 = 2;
const RTA_OIF: u16 = 4;
const RTA_PREFSRC: u16 = 7;
const RTN_UNICAST: u8 = 1;
/// `LOOPBACK_IFINDEX` of the kernel: in every namespace the loopback is the first.
pub const LOOPBACK: u32 = 1;

const ROUTE_BYTES: usize = 12;

/// The way to an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// Index of the interface packets leave by.
    pub interface: u32,
    /// The address this host would use.
    pub source: Option<IpAddr>,
    /// Whether the kernel half can send packets this way: to another host or namespace, or by the
    /// loopback. An address of this host in a VRF is reached in neither way.
    pub is_open: bool,
}

thread_local! {
    static LOOKUP: RefCell<Option<Lookup>> = const { RefCell::new(None) };
}

/// The most answers that a thread keeps.
const KEPT: usize = 4096;

/// What one thread asks by, and what it was answered since the last change of anything that routes
/// depend on.
#[derive(Debug)]
struct Lookup {
    socket: Socket,
    changes: Changes,
    known: HashMap<(IpAddr, Option<IpAddr>), Route>,
}

impl Lookup {
    fn open() -> io::Result<Self> {
        Ok(Self {
            socket: netlink::open(NETLINK_ROUTE)?,
            changes: Changes::open()?,
            known: HashMap::new(),
        })
    }

    /// The kernel tells of a change before it is done, so what was known before is right.
    fn keep_up(&mut self) {
        if self.changes.any() || self.known.len() >= KEPT {
            self.known.clear();
        }
    }

    fn to(&mut self, destination: IpAddr, source: Option<IpAddr>) -> io::Result<Route> {
        if let Some(route) = self.known.get(&(destination, source)) {
            return Ok(*route);
        }
        let (kind, body) = request(destination, source).ask(&self.socket)?;
        let route = if kind == RTM_NEWROUTE {
            route(&body)
        } else {
            None
        };
        let route = route.ok_or(io::ErrorKind::InvalidData)?;
        self.known.insert((destination, source), route);
        Ok(route)
    }
}

/// Opens the sockets by which this thread asks, so that no connection finds them missing.
///
/// # Errors
///
/// What the kernel says.
pub fn prepare() -> io::Result<()> {
    let lookup = Lookup::open()?;
    LOOKUP.with_borrow_mut(|kept| *kept = Some(lookup));
    Ok(())
}

/// The way from `source`, where given, to `destination`.
///
/// # Errors
///
/// `ENETUNREACH` and the like, as the kernel says.
pub fn to(destination: IpAddr, source: Option<IpAddr>) -> io::Result<Route> {
    look_up(|lookup| lookup.to(destination, source))
}

/// The ways to two peers, each from this host's own end of a connection.
///
/// # Errors
///
/// The same for the first that has none.
pub fn both([one, other]: [[SocketAddr; 2]; 2]) -> io::Result<[Route; 2]> {
    look_up(|lookup| {
        let mut way = |[peer, local]: [SocketAddr; 2]| lookup.to(peer.ip(), Some(local.ip()));
        Ok([way(one)?, way(other)?])
    })
}

fn look_up<R>(find: impl FnOnce(&mut Lookup) -> io::Result<R>) -> io::Result<R> {
    LOOKUP.with_borrow_mut(|kept| {
        let mut lookup = match kept.take() {
            Some(lookup) => lookup,
            None => Lookup::open()?,
        };
        lookup.keep_up();
        let found = find(&mut lookup);
        *kept = Some(lookup);
        found
    })
}

/// The largest payload of a TCP segment to an address, without options, in bytes.
///
/// # Errors
///
/// There is no way to it.
pub fn largest_segment(peer: SocketAddr) -> io::Result<u32> {
    let (any, headers) = match peer {
        SocketAddr::V4(_) => (SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)), 40),
        SocketAddr::V6(_) => (SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)), 60),
    };
    let socket = UdpSocket::bind(any)?;
    // Nothing is sent: this only looks up the way.
    socket.connect(peer)?;
    Ok(sys::path_mtu(&socket)?.saturating_sub(headers))
}

fn request(destination: IpAddr, source: Option<IpAddr>) -> Message {
    let (family, bits) = if destination.is_ipv4() {
        (2, 32)
    } else {
        (10, 128)
    };
    // `struct rtmsg`: family, bits of destination and source, the rest is for the kernel to say.
    let mut header = [0; ROUTE_BYTES];
    header[..3].copy_from_slice(&[family, bits, if source.is_some() { bits } else { 0 }]);
    let mut message = Message::new(RTM_GETROUTE, Answer::Data, &header);
    message.attribute(RTA_DST, &octets(destination));
    if let Some(source) = source {
        message.attribute(RTA_SRC, &octets(source));
    }
    message
}

fn route(body: &[u8]) -> Option<Route> {
    let mut route = Route {
        interface: 0,
        source: None,
        is_open: *body.get(7)? == RTN_UNICAST,
    };
    let mut rest = body.get(ROUTE_BYTES..)?;
    while let Some((kind, value, behind)) = next_attribute(rest) {
        match kind {
            RTA_OIF => route.interface = u32::from_ne_bytes(value.try_into().ok()?),
            RTA_PREFSRC => route.source = address(value),
            _ => {}
        }
        rest = behind;
    }
    route.is_open |= route.interface == LOOPBACK;
    Some(route)
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(bytes) = <[u8; 4]>::try_from(bytes) {
        return Some(bytes.into());
    }
    Some(<[u8; 16]>::try_from(bytes).ok()?.into())
}

#[cfg(test)]
mod tests {
    use super::{LOOPBACK, to};

    #[test]
    fn the_host_itself_is_behind_the_loopback() {
        for address in ["127.0.0.1", "::1"] {
            let address = address.parse().unwrap();
            let route = to(address, None).unwrap();

            assert!(route.is_open);
            assert_eq!(route.interface, LOOPBACK);
            assert_eq!(route.source, Some(address));
        }
    }
}
