//! What a machine can say about the code: formatting, clippy, layers.

use anyhow::Result;

use crate::setup::{self, KernelHalf};
use crate::{fmt, layers, shell};

pub(crate) fn run() -> Result<()> {
    fmt::run(&fmt::Options::CHECK)?;
    layers::run()?;

    let mut clippy = shell::cargo();
    clippy
        .args(["clippy", "--workspace", "--all-targets"])
        .args(["--", "-D", "warnings"]);
    if matches!(setup::kernel_half(), KernelHalf::LeftOut) {
        clippy.env("SLUICE_EBPF", "skip");
    }
    shell::run(&mut clippy)
}
