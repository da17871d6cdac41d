//! Builds the daemon and starts it: with a configuration, or as a demo.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use clap::Args;

use crate::demo::{self, Wish};
use crate::setup::{self, KernelHalf};
use crate::shell;

#[derive(Args)]
pub(crate) struct Options {
    /// The port that the demo listens on.
    #[arg(long, default_value_t = 1883)]
    port: u16,

    /// The brokers behind the demo.
    #[arg(long, value_enum, default_value_t = Wish::Auto)]
    demo_broker: Wish,

    /// What `sluice run` is told; without any, the demo starts.
    #[arg(last = true)]
    arguments: Vec<OsString>,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    if options.arguments.is_empty() {
        let listeners = demo::free_listeners(options.port)?;
        return demo::run(&build()?, &listeners, options.demo_broker);
    }
    replace_by(&build()?, &options.arguments)
}

/// Builds the daemon for use, not for debugging.
pub(crate) fn build() -> Result<PathBuf> {
    let kernel_half = setup::kernel_half();

    shell::say("building the daemon (about 5 min the first time)");
    let mut cargo = shell::cargo();
    cargo
        .args(["build", "--release", "--package", "lb-userspace"])
        .args(["--bin", "sluice", "--target-dir"])
        .arg(shell::target());
    if matches!(kernel_half, KernelHalf::LeftOut) {
        cargo.env("SLUICE_EBPF", "skip");
    }
    shell::run(&mut cargo)?;
    Ok(shell::target().join("release/sluice"))
}

/// Becomes the daemon, so that signals and the exit code are its own.
fn replace_by(sluice: &Path, arguments: &[OsString]) -> Result<()> {
    let reason = Command::new(sluice).arg("run").args(arguments).exec();
    Err(reason).with_context(|| format!("cannot start {}", sluice.display()))
}
