//! Runs every fuzz target for a bounded time.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use super::counts::Counts;
use crate::shell;

const VERSION: &str = "0.13.2";
const SECONDS: u32 = 20;

pub(super) fn run(counts: &mut Counts) -> Result<()> {
    let names = targets(&shell::root().join("tests/fuzz/fuzz_targets"))?;
    if names.is_empty() {
        return Ok(());
    }
    if let Err(reason) = install() {
        for name in names {
            counts.skip(format!("fuzz {name}"), format!("no cargo-fuzz: {reason:#}"));
        }
        return Ok(());
    }

    shell::say("building the fuzz targets (about 2 min the first time)");
    for name in names {
        if let Err(reason) = shell::run(cargo_fuzz("build")?.arg(&name)) {
            counts.skip(
                format!("fuzz {name}"),
                format!("does not build: {reason:#}"),
            );
            continue;
        }
        shell::say(&format!("fuzzing {name} for {SECONDS} s"));
        let limits = [
            format!("-max_total_time={SECONDS}"),
            "-print_final_stats=1".into(),
        ];
        match shell::run(cargo_fuzz("run")?.arg(&name).arg("--").args(limits)) {
            Ok(()) => counts.pass(),
            Err(reason) => {
                counts.fail(&format!("fuzz {name}"), &format!("{reason:#}"));
            }
        }
    }
    Ok(())
}

/// The names of the fuzz targets: one for each file.
fn targets(directory: &Path) -> Result<Vec<String>> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Ok(Vec::new());
    };
    let mut names = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.file_stem().context("a file without a name")?;
            names.push(name.to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

fn install() -> Result<()> {
    let ours = shell::tools().join("bin/cargo-fuzz");
    if ours.is_file() || shell::find("cargo-fuzz").is_some() {
        return Ok(());
    }
    shell::say(&format!(
        "installing cargo-fuzz {VERSION} into target/tools (about 45 s)"
    ));
    let mut cargo = shell::cargo();
    cargo
        .args(["install", "cargo-fuzz", "--version", VERSION, "--locked"])
        .arg("--debug")
        .arg("--root")
        .arg(shell::tools());
    shell::run_logged(&mut cargo, &shell::tools().join("cargo-fuzz.log"))
}

/// `cargo fuzz`, on a stable compiler that is told to accept its options.
fn cargo_fuzz(command: &str) -> Result<Command> {
    let mut cargo = shell::cargo();
    cargo
        .env("PATH", path_with_tools()?)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("SLUICE_EBPF", "skip")
        .args(["fuzz", command, "--fuzz-dir", "tests/fuzz", "--target-dir"])
        .arg(shell::root().join("target/fuzz"));
    Ok(cargo)
}

fn path_with_tools() -> Result<OsString> {
    let path = env::var_os("PATH").unwrap_or_default();
    let tools = [shell::tools().join("bin")];
    env::join_paths(tools.into_iter().chain(env::split_paths(&path)))
        .context("a path in PATH contains a colon")
}
