//! What the kernel half costs for a packet, alone; the benchmark of `lb-tests` measures and prints.

use anyhow::{Result, bail};

use crate::setup::{self, KernelHalf};
use crate::shell;

pub(super) fn run() -> Result<()> {
    if matches!(setup::kernel_half(), KernelHalf::LeftOut) {
        bail!("there is no kernel half to measure without a BPF toolchain");
    }
    let mut cargo = shell::cargo();
    cargo.args(["bench", "--package", "lb-tests", "--bench", "program"]);
    shell::run(&mut cargo)
}
