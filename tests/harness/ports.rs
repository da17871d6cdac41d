//! Ports that nobody else uses.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

/// Below the range the kernel takes the ports of outgoing connections from.
const FIRST: u16 = 10_000;
const COUNT: u16 = 20_000;

/// Ports given out by this process.
static GIVEN: AtomicU16 = AtomicU16::new(0);

/// A port that is free for IPv4 and IPv6, and given to nobody else in this process.
pub fn free() -> u16 {
    let start = std::process::id() % u32::from(COUNT);
    loop {
        let given = u32::from(GIVEN.fetch_add(1, Ordering::Relaxed));
        let offset = (start * 61 + given) % u32::from(COUNT);
        let port = FIRST + u16::try_from(offset).expect("it is less than a u16");
        if is_free(port) {
            return port;
        }
    }
}

fn is_free(port: u16) -> bool {
    if TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_err() {
        return false;
    }
    match TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)) {
        Ok(_) => true,
        Err(error) => error.kind() != ErrorKind::AddrInUse,
    }
}
