//! Formats every crate, those outside the workspace as well.

use anyhow::Result;
use clap::Args;

use crate::shell;

/// Manifests of the workspace and of the crates that keep out of it.
const MANIFESTS: [&str; 3] = [
    "Cargo.toml",
    "tests/fuzz/Cargo.toml",
    "xtask/demo-broker/Cargo.toml",
];

#[derive(Args)]
pub(crate) struct Options {
    /// Change nothing and fail where something would change.
    #[arg(long)]
    check: bool,
}

impl Options {
    pub(crate) const CHECK: Self = Self { check: true };
}

pub(crate) fn run(options: &Options) -> Result<()> {
    for manifest in MANIFESTS {
        let manifest = shell::root().join(manifest);
        if !manifest.is_file() {
            continue;
        }
        let mut cargo = shell::cargo();
        cargo
            .args(["fmt", "--all", "--manifest-path"])
            .arg(&manifest);
        if options.check {
            cargo.arg("--check");
        }
        shell::run(&mut cargo)?;
    }
    Ok(())
}
