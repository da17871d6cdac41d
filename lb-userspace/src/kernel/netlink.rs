//! Messages to the kernel (netlink(7)), one question and one answer at a time.

use std::io::{self, Read as _};
use std::net::IpAddr;
use std::os::fd::AsRawFd as _;

use nix::sys::socket::{NetlinkAddr, bind};
use socket2::{Domain, Protocol, Socket, Type};

const AF_NETLINK: i32 = 16;
const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLA_F_NESTED: u16 = 1 << 15;
/// `struct nlmsghdr`.
const HEADER_BYTES: usize = 16;
/// Attributes, and messages, begin at multiples of this.
const ALIGNMENT: usize = 4;

/// The part of the kernel for interfaces, addresses and routes (rtnetlink(7)).
pub(super) const NETLINK_ROUTE: i32 = 0;

/// Opens a socket to one part of the kernel: [`NETLINK_ROUTE`], or `NETLINK_NETFILTER`, which is 12.
pub(super) fn open(protocol: i32) -> io::Result<Socket> {
    let protocol = Some(Protocol::from(protocol));
    Socket::new(Domain::from(AF_NETLINK), Type::RAW.cloexec(), protocol)
}

/// Opens a socket that is told of changes: `groups` are bits of `linux/rtnetlink.h`.
pub(super) fn subscribe(protocol: i32, groups: u32) -> io::Result<Socket> {
    let socket = open(protocol)?;
    socket.set_nonblocking(true)?;
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
    Ok(socket)
}

/// Takes what a subscribed socket was told, up to a thousand messages; whether that was anything.
pub(super) fn take_news(mut socket: &Socket) -> bool {
    const MESSAGES: usize = 1000;
    let mut message = [0; 4096];
    for taken in 0..MESSAGES {
        match socket.read(&mut message) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return taken != 0,
            // There were more than it had room for, and that is news.
            Ok(_) | Err(_) => {}
        }
    }
    true
}

/// Whether an answer is asked for that is nothing but an error number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Acknowledgment,
    Data,
}

/// A message in the making.
#[derive(Debug)]
pub(super) struct Message(Vec<u8>);

impl Message {
    /// `header` is the fixed part that the kind of message has.
    pub(super) fn new(kind: u16, answer: Answer, header: &[u8]) -> Self {
        let acknowledge = if answer == Answer::Acknowledgment {
            NLM_F_ACK
        } else {
            0
        };
        let mut bytes = vec![0; 4];
        bytes.extend(kind.to_ne_bytes());
        bytes.extend((NLM_F_REQUEST | acknowledge).to_ne_bytes());
        bytes.extend([0; 8]);
        bytes.extend(header);
        Self(bytes)
    }

    pub(super) fn attribute(&mut self, kind: u16, value: &[u8]) {
        self.nest_as(kind, |message| message.0.extend(value));
    }

    pub(super) fn nested(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) {
        self.nest_as(kind | NLA_F_NESTED, fill);
    }

    fn nest_as(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) {
        let start = self.0.len();
        self.0.extend([0; 2]);
        self.0.extend(kind.to_ne_bytes());
        fill(self);
        let length = u16::try_from(self.0.len() - start).unwrap_or(u16::MAX);
        self.0[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self.0.resize(self.0.len().next_multiple_of(ALIGNMENT), 0);
    }

    /// Sends the message and reads the kind and the body of the answer.
    ///
    /// # Errors
    ///
    /// The error number that the kernel answers with; none where it acknowledges.
    pub(super) fn ask(mut self, socket: &Socket) -> io::Result<(u16, Vec<u8>)> {
        let length = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        self.0[..4].copy_from_slice(&length.to_ne_bytes());
        socket.send(&self.0)?;
        let mut answer = vec![0; 4096];
        let count = (&*socket).read(&mut answer)?;
        answer.truncate(count);
        parse(&answer)
    }
}

fn parse(answer: &[u8]) -> io::Result<(u16, Vec<u8>)> {
    let short = || io::Error::from(io::ErrorKind::InvalidData);
    let kind = answer.get(4..6).ok_or_else(short)?;
    let kind = u16::from_ne_bytes(kind.try_into().map_err(io::Error::other)?);
    let body = answer.get(HEADER_BYTES..).ok_or_else(short)?;
    if kind == NLMSG_ERROR {
        let errno = body.get(..4).ok_or_else(short)?;
        match i32::from_ne_bytes(errno.try_into().map_err(io::Error::other)?) {
            0 => {}
            errno => return Err(io::Error::from_raw_os_error(-errno)),
        }
    }
    Ok((kind, body.to_vec()))
}

/// The first attribute and what is behind it.
pub(super) fn next_attribute(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = usize::from(u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?));
    let kind = u16::from_ne_bytes(bytes.get(2..4)?.try_into().ok()?);
    let value = bytes.get(4..length)?;
    let behind = bytes
        .get(length.next_multiple_of(ALIGNMENT)..)
        .unwrap_or_default();
    Some((kind, value, behind))
}

/// An address in network order.
pub(super) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Answer, Message, next_attribute, parse};

    #[test]
    fn attributes_nest_and_are_padded() {
        let mut message = Message::new(7, Answer::Data, &[]);
        message.nested(1, |message| message.attribute(2, &[9]));

        let attributes = &message.0[16..];
        assert_eq!(attributes.len(), 12);
        let (kind, inner, behind) = next_attribute(attributes).unwrap();
        assert_eq!((kind, behind.len()), (1 | 1 << 15, 0));
        assert_eq!(next_attribute(inner).unwrap().1, [9]);
    }

    #[test]
    fn refuses_what_is_cut_short() {
        assert!(parse(&[]).is_err());
        assert!(parse(&[0; 15]).is_err());
        assert!(next_attribute(&[]).is_none());
        assert!(next_attribute(&[9, 0, 1, 0, 0]).is_none());
        assert!(next_attribute(&[3, 0, 1, 0]).is_none());
    }
}
