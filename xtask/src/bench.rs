//! Measures on this machine; what is printed holds for it alone.

use anyhow::{Result, bail};
use clap::{Args, Subcommand};

use crate::setup::{self, KernelHalf};
use crate::shell;

#[derive(Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// What the kernel half costs for a packet, with tables of three sizes; needs root.
    Program,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let What::Program = options.what;
    if matches!(setup::kernel_half(), KernelHalf::LeftOut) {
        bail!("there is no kernel half to measure without a BPF toolchain");
    }
    let mut cargo = shell::cargo();
    cargo.args(["bench", "--package", "lb-tests", "--bench", "program"]);
    shell::run(&mut cargo)
}
