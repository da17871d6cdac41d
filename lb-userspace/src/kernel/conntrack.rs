//! Connection tracking: what the host's netfilter remembers of a connection that has left it.
//!
//! The packets of a spliced connection do not pass netfilter. An entry of its handshake would stay
//! for the time of an established connection, five days, and fill the table; so it is removed.
//!
//! Those of a leg on this host do pass it, and of any leg some until the daemon has left. Where the next
//! bytes overtake what the daemon still has to write, netfilter would see more than the window allows, and
//! a firewall might drop all that follows as `INVALID`; so it is told not to compare.

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use socket2::Socket;

use super::netlink::{self, Answer, Message, octets};

/// Numbers of `linux/netfilter/nfnetlink.h` and `nfnetlink_conntrack.h`.
const NETLINK_NETFILTER: i32 = 12;
const CT_NEW: u16 = 1 << 8;
const CT_DELETE: u16 = 1 << 8 | 2;
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_SRC_PORT: u16 = 2;
const CTA_PROTO_DST_PORT: u16 = 3;
const CTA_PROTOINFO: u16 = 4;
const CTA_PROTOINFO_TCP: u16 = 1;
/// Of the end that opened the connection, and of the other.
const CTA_PROTOINFO_TCP_FLAGS: [u16; 2] = [4, 5];
/// `IP_CT_TCP_FLAG_BE_LIBERAL` of `linux/netfilter/nf_conntrack_tcp.h`.
const BE_LIBERAL: u8 = 8;
const TCP: u8 = 6;

/// How many connections are tracked; there where that can be done.
const COUNT: &str = "/proc/sys/net/netfilter/nf_conntrack_count";

thread_local! {
    static SOCKET: RefCell<Option<Socket>> = const { RefCell::new(None) };
    static TRACKED: RefCell<Option<File>> = const { RefCell::new(None) };
}

/// Whether this host tracks connections.
pub fn is_in_use() -> bool {
    Path::new(COUNT).exists()
}

/// Whether any connection is tracked now: without a rule that asks for it none is.
pub fn has_any() -> bool {
    TRACKED.with_borrow_mut(|kept| {
        if kept.is_none() {
            *kept = File::open(COUNT).ok();
        }
        let mut count = [0; 2];
        let read = kept.as_ref().map(|file| file.read_at(&mut count, 0));
        !matches!(read, Some(Ok(_)) if &count == b"0\n")
    })
}

/// Forgets the connection that `from` opened to `to`.
///
/// # Errors
///
/// What the kernel says, but for a connection that was not tracked.
pub fn forget(from: SocketAddr, to: SocketAddr) -> io::Result<()> {
    ask(message(CT_DELETE, from, to))
}

/// Has every segment of the connection that `from` opened to `to` taken for one of its own, whatever its
/// numbers, as the sysctl `nf_conntrack_tcp_be_liberal` does for all connections.
///
/// # Errors
///
/// What the kernel says, but for a connection that is not tracked.
pub fn be_liberal(from: SocketAddr, to: SocketAddr) -> io::Result<()> {
    let mut message = message(CT_NEW, from, to);
    message.nested(CTA_PROTOINFO, |protocol| {
        protocol.nested(CTA_PROTOINFO_TCP, |tcp| {
            for flags in CTA_PROTOINFO_TCP_FLAGS {
                // `struct nf_ct_tcp_flags`: flags, mask.
                tcp.attribute(flags, &[BE_LIBERAL; 2]);
            }
        });
    });
    ask(message)
}

fn ask(message: Message) -> io::Result<()> {
    SOCKET.with_borrow_mut(|kept| {
        let socket = match kept.take() {
            Some(socket) => socket,
            None => netlink::open(NETLINK_NETFILTER)?,
        };
        let answer = message.ask(&socket);
        *kept = Some(socket);
        match answer {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(_) | Err(_) => Ok(()),
        }
    })
}

/// About the connection that is there; a new one is not made.
fn message(kind: u16, from: SocketAddr, to: SocketAddr) -> Message {
    let (family, source, destination) = if from.is_ipv4() {
        (2, 1, 2)
    } else {
        (10, 3, 4)
    };
    // `struct nfgenmsg`: family, version 0, resource 0.
    let mut message = Message::new(kind, Answer::Acknowledgment, &[family, 0, 0, 0]);
    message.nested(CTA_TUPLE_ORIG, |tuple| {
        tuple.nested(CTA_TUPLE_IP, |addresses| {
            addresses.attribute(source, &octets(from.ip()));
            addresses.attribute(destination, &octets(to.ip()));
        });
        tuple.nested(CTA_TUPLE_PROTO, |ports| {
            ports.attribute(CTA_PROTO_NUM, &[TCP]);
            ports.attribute(CTA_PROTO_SRC_PORT, &from.port().to_be_bytes());
            ports.attribute(CTA_PROTO_DST_PORT, &to.port().to_be_bytes());
        });
    });
    message
}
