//! What keeps the daemon from starting.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use thiserror::Error;

use crate::kernel::pins::PinError;
use crate::kernel::{self, Unavailable};
use crate::listen::tls::Unusable;

/// Why the daemon does not start, or could not go on.
#[derive(Debug, Error)]
pub enum Failure {
    #[error("backend `{name}`: `{address}` is not an address of this host to connect from")]
    Source {
        name: String,
        address: IpAddr,
        source: io::Error,
    },
    #[error("listener `{name}`: could not listen on {address}")]
    Bind {
        name: String,
        address: SocketAddr,
        source: io::Error,
    },
    #[error("control socket {path}{}", if source.kind() == io::ErrorKind::AddrInUse {
        ": another daemon is running there; end it first, or take its place with `sluice run --replace`"
    } else {
        "; set `daemon.control` to a path this user may write"
    })]
    Control { path: PathBuf, source: io::Error },
    #[error("the daemon that runs did not hand over")]
    HandOver(#[source] io::Error),
    #[error("`kernel.mode` is \"required\", but the kernel half is not available")]
    Kernel(#[source] Unavailable),
    #[error("could not remove what is pinned")]
    Pins(#[from] PinError),
    #[error("could not start a thread or wait for signals")]
    Runtime(#[source] io::Error),
    #[error("listener `{name}` cannot end TLS")]
    Tls { name: String, source: Unusable },
    #[error("the tables in the kernel")]
    Tables(#[from] kernel::tables::TableError),
}
