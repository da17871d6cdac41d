//! Runs every test, names what was skipped and counts.

mod counts;
mod fuzz;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use clap::Args;

use self::counts::Counts;
use crate::setup::{self, KernelHalf};
use crate::shell;

#[derive(Args)]
pub(crate) struct Options {
    /// What `cargo test` is told, such as a part of a test's name; fuzzing is then left out.
    #[arg(last = true)]
    filter: Vec<String>,
}

/// Prints one line of counts at the end and tells whether all is well.
pub(crate) fn run(options: &Options) -> Result<bool> {
    setup::test_tools();
    let kernel_half = setup::kernel_half();
    let skips = shell::tools().join("skips");
    fs::create_dir_all(shell::tools())
        .and_then(|()| fs::write(&skips, ""))
        .with_context(|| format!("cannot write {}", skips.display()))?;

    let mut cargo = shell::cargo();
    cargo
        .args(["test", "--workspace", "--no-fail-fast"])
        .args(&options.filter)
        .env("SLUICE_SKIPS", &skips);
    if matches!(kernel_half, KernelHalf::LeftOut) {
        cargo.env("SLUICE_EBPF", "skip");
    }
    if options.filter.is_empty() {
        // Built with the tests: they need not build it once more.
        cargo.env("SLUICE_BIN", shell::target().join("debug/sluice"));
    }
    let mut counts = run_cargo(&mut cargo)?;
    if options.filter.is_empty() {
        fuzz::run(&mut counts)?;
    }

    let written = fs::read_to_string(&skips).context("the list of skipped tests is gone")?;
    counts.skip_all(&written);
    for (name, reason) in counts.skipped() {
        shell::show(&format!("skipped {name}: {reason}"));
    }
    for report in counts.reports() {
        shell::show(&report.to_string());
    }
    shell::show(&counts.to_string());
    Ok(counts.is_well())
}

/// Shows the output as it comes and counts it.
fn run_cargo(cargo: &mut Command) -> Result<Counts> {
    let mut child = cargo
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start cargo")?;
    let Some(output) = child.stdout.take() else {
        bail!("cargo test has no output");
    };

    let mut counts = Counts::default();
    for line in BufReader::new(output).lines() {
        let line = line.context("cannot read what the tests print")?;
        shell::show(&line);
        counts.read(&line);
    }
    if !child.wait()?.success() {
        counts.failed_somehow();
    }
    Ok(counts)
}
