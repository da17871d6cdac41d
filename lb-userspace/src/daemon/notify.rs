//! What systemd is told, as in sd_notify(3): how far we are, and which sockets to keep for the next
//! start.

use std::env;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd as _, BorrowedFd, RawFd};
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;

use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, sendmsg};

/// Descriptors that the kernel lets through in one message.
const AT_ONCE: usize = 128;

/// Who wants to know; nobody, where we were not started by a service manager.
#[derive(Debug, Clone)]
pub(super) struct Notify(Option<Arc<(UnixDatagram, UnixAddr)>>);

impl Notify {
    /// To the socket that the environment names.
    pub(super) fn new() -> Self {
        let Some(path) = env::var_os("NOTIFY_SOCKET") else {
            return Self(None);
        };
        let bytes = path.as_encoded_bytes();
        let address = match bytes.strip_prefix(b"@") {
            Some(name) => UnixAddr::new_abstract(name),
            None => UnixAddr::new(bytes),
        };
        let socket = UnixDatagram::unbound().map(Some);
        match (socket, address) {
            (Ok(Some(socket)), Ok(address)) => Self(Some(Arc::new((socket, address)))),
            (socket, address) => {
                tracing::warn!(?socket, ?address, "the service manager cannot be told");
                Self(None)
            }
        }
    }

    pub(super) fn ready(&self) {
        self.tell("READY=1", &[]);
    }

    pub(super) fn reloading(&self) {
        let now = crate::kernel::flows::now().as_micros();
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={now}"), &[]);
    }

    pub(super) fn stopping(&self) {
        self.tell("STOPPING=1", &[]);
    }

    pub(super) fn replaced_by(&self, pid: i32) {
        self.tell(&format!("MAINPID={pid}"), &[]);
    }

    /// Keeps the sockets of an address open until the next start.
    pub(super) fn store(&self, address: SocketAddr, sockets: &[BorrowedFd<'_>]) {
        let state = format!("FDSTORE=1\nFDPOLL=0\nFDNAME={}", name(address));
        let sockets: Vec<RawFd> = sockets.iter().map(|socket| socket.as_raw_fd()).collect();
        for some in sockets.chunks(AT_ONCE) {
            self.tell(&state, some);
        }
    }

    /// Takes `store` back.
    pub(super) fn forget(&self, address: SocketAddr) {
        self.tell(&format!("FDSTOREREMOVE=1\nFDNAME={}", name(address)), &[]);
    }

    fn tell(&self, state: &str, fds: &[RawFd]) {
        let Some(manager) = &self.0 else {
            return;
        };
        let (socket, address) = &**manager;
        let rights = [ControlMessage::ScmRights(fds)];
        let rights = if fds.is_empty() { &[][..] } else { &rights };
        let told = sendmsg(
            socket.as_raw_fd(),
            &[IoSlice::new(state.as_bytes())],
            rights,
            MsgFlags::MSG_NOSIGNAL,
            Some(address),
        );
        if let Err(error) = told.map_err(io::Error::from) {
            tracing::warn!(%error, "the service manager was not told");
        }
    }
}

/// Names of descriptors may have no colon.
fn name(address: SocketAddr) -> String {
    format!("sluice-{address}").replace(':', "+")
}
