//! The only unsafe code of the daemon, and what makes it safe.

#![expect(unsafe_code, reason = "kept in one place")]

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use tokio::io::unix::AsyncFd;

/// Lets a task wait until `owner` can be read.
///
/// # Errors
///
/// The kernel has no way to wait for this kind of file.
pub(crate) fn watch<T: AsFd + AsRawFd>(owner: T) -> io::Result<AsyncFd<T>> {
    // SAFETY: `T: AsFd` lends its descriptor for as long as it lives, so it is open and stays the
    // same, and the `AsyncFd` owns it; the types this is called with give the same descriptor as
    // `AsRawFd`.
    Ok(unsafe { AsyncFd::register(owner) }?)
}
