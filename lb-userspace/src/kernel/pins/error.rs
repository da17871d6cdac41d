//! What can be wrong with pins.

use std::io;
use std::path::PathBuf;

use lb_common::LAYOUT;
use thiserror::Error;

use super::USUAL_MOUNT;

#[derive(Debug, Error)]
pub enum PinError {
    #[error("{path}: {action}")]
    File {
        path: PathBuf,
        action: &'static str,
        source: io::Error,
    },
    #[error(
        "the pins below {path} are of layout {found}, this version has layout {LAYOUT}; \
         end the connections they carry and remove them with `sluice detach`"
    )]
    Layout { path: PathBuf, found: u32 },
    #[error("{path} is not on a bpf file system; mount one with `mount -t bpf bpf {USUAL_MOUNT}`")]
    NotBpf { path: PathBuf },
    #[error("{path} belongs to user {owner}; remove it, or set `kernel.pins` to another directory")]
    Owner { path: PathBuf, owner: u32 },
    #[error(
        "{path} is in use by the daemon with pid {pid}; end it first, or take its place with `sluice run --replace`"
    )]
    InUse { path: PathBuf, pid: u32 },
    #[error("{path}: could not pin")]
    Pin {
        path: PathBuf,
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("{path}: could not read the pinned map")]
    Read {
        path: PathBuf,
        source: aya::maps::MapError,
    },
}
