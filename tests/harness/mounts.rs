//! File systems of a test's own; they are gone with the last thread and process that has them.

use std::fs::{self, File};
use std::os::fd::AsRawFd as _;
use std::path::Path;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use crate::process;

/// Where programs keep their pins.
pub const BPF_FS: &str = "/sys/fs/bpf";

const NOTHING: Option<&str> = None;

/// Gives this thread, and what it starts from now on, mounts of its own, with no pin anywhere.
///
/// # Errors
///
/// A reason to skip.
pub fn enter_new() -> Result<(), String> {
    process::root()?;
    unshare(CloneFlags::CLONE_NEWNS).map_err(|errno| format!("needs mount namespaces: {errno}"))?;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(NOTHING, "/", NOTHING, private, NOTHING).expect("the mounts are this thread's own");
    mount(Some("bpf"), BPF_FS, Some("bpf"), MsFlags::empty(), NOTHING)
        .map_err(|errno| format!("needs a bpf file system on {BPF_FS}: {errno}"))
}

/// Lets every user enter `directory`, where nothing is left but the entries that are named.
///
/// The mounts must be this thread's own.
pub fn open_to_all(directory: &Path, names: &[&str]) {
    let held: Vec<_> = names
        .iter()
        .filter_map(|name| Some((directory.join(name), File::open(directory.join(name)).ok()?)))
        .collect();
    mount(
        Some("tmpfs"),
        directory,
        Some("tmpfs"),
        MsFlags::empty(),
        Some("mode=755"),
    )
    .expect("root may mount");
    for (path, file) in held {
        fs::create_dir(&path).expect("there is room");
        let source = format!("/proc/thread-self/fd/{}", file.as_raw_fd());
        mount(
            Some(source.as_str()),
            &path,
            NOTHING,
            MsFlags::MS_BIND,
            NOTHING,
        )
        .expect("root may mount");
    }
}
