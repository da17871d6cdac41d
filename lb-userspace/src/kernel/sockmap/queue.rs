//! The send queue of a socket that the kernel half writes to as well.

use std::io;
use std::os::fd::AsFd;

use nix::libc;
use nix::sys::socket::{setsockopt, sockopt};

use crate::sys;

/// `struct tcp_info` of `linux/tcp.h`, as far as it is used: up to `tcpi_bytes_acked`.
const INFO_BYTES: usize = 128;
/// `TCP_CLOSE` of `linux/tcp_states.h`.
const CLOSE: u8 = 7;

/// Makes the send buffer large enough that it never is in the way of what is carried.
///
/// What is carried into a full buffer waits in the kernel, and what is passed on the other stream of
/// the same socket waits behind it. So the buffer has twice the limit (the kernel doubles the value),
/// and `tcp_notsent_lowat` of the host does not apply.
///
/// # Errors
///
/// `EPERM` without `CAP_NET_ADMIN`.
pub(super) fn give_room(socket: &impl AsFd, limit: u32) -> io::Result<()> {
    let bytes = usize::try_from(limit).map_err(io::Error::other)?;
    setsockopt(socket, sockopt::SndBufForce, &bytes)?;
    sys::set_tcp_option(socket, libc::TCP_NOTSENT_LOWAT, i32::MAX)
}

/// How many bytes have been written to a socket, counted from some beginning.
///
/// # Errors
///
/// It is not a TCP socket.
pub fn written(socket: &impl AsFd) -> io::Result<u64> {
    let mut before = acknowledged(socket)?;
    loop {
        let waiting = sys::unacknowledged(socket)?;
        let after = acknowledged(socket)?;
        if before == after {
            return Ok(before + u64::from(waiting));
        }
        // An acknowledgment came in between, and the two are not of one moment.
        before = after;
    }
}

fn acknowledged(socket: &impl AsFd) -> io::Result<u64> {
    let info = sys::tcp_option::<INFO_BYTES>(socket, libc::TCP_INFO)?;
    let (_, acknowledged) = info.split_at(INFO_BYTES - 8);
    Ok(u64::from_ne_bytes(
        acknowledged.try_into().map_err(io::Error::other)?,
    ))
}

/// Whether the connection is no more: it was reset, or timed out.
pub fn is_gone(socket: &impl AsFd) -> bool {
    let info = sys::tcp_option::<INFO_BYTES>(socket, libc::TCP_INFO);
    info.is_ok_and(|info| info[0] == CLOSE)
}
