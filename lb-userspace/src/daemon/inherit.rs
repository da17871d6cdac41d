//! Listening sockets that were open before this process was: from a socket unit or the descriptor store
//! of systemd, as sd_listen_fds(3) passes them.

use std::env;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;

use socket2::{SockRef, Type};

use crate::sys;

/// Sockets, and what is wrong with others.
#[derive(Debug, Default)]
pub(super) struct Inherited {
    pub sockets: Vec<TcpListener>,
    pub complaints: Vec<String>,
}

/// Takes what was passed to this process; to be called once, at its start.
pub(super) fn take() -> Inherited {
    let number = |name: &str| env::var(name).ok()?.parse::<u32>().ok();
    let mut inherited = Inherited::default();
    if number("LISTEN_PID") != Some(std::process::id()) {
        return inherited;
    }
    let count = number("LISTEN_FDS").unwrap_or_default();
    for fd in sys::inherited(count) {
        match listener(fd) {
            Ok(socket) => inherited.sockets.push(socket),
            Err(complaint) => inherited.complaints.push(complaint),
        }
    }
    inherited
}

fn listener(fd: OwnedFd) -> Result<TcpListener, String> {
    let socket = TcpListener::from(fd);
    let reference = SockRef::from(&socket);
    let is_stream = reference.r#type().is_ok_and(|kind| kind == Type::STREAM);
    let address = socket.local_addr();
    let (true, Ok(true), Ok(address)) = (is_stream, reference.is_listener(), address) else {
        return Err("a descriptor that was passed is no listening TCP socket; \
                    write ListenStream= in the socket unit"
            .to_owned());
    };
    if address.is_ipv6() && !reference.only_v6().unwrap_or_default() {
        return Err(format!(
            "the socket on {address} that was passed takes IPv4 clients too; \
             write BindIPv6Only=ipv6-only in the socket unit"
        ));
    }
    socket
        .set_nonblocking(true)
        .map_err(|error| format!("the socket on {address} that was passed: {error}"))?;
    Ok(socket)
}

/// What to say of a socket that no listener wants.
pub(super) fn unwanted(address: SocketAddr) -> String {
    format!(
        "the socket on {address} that was passed is that of no listener; \
         add the address to one, or remove it from the socket unit"
    )
}
