//! The linker that turns LLVM bitcode into a BPF object.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use super::compiler::Compiler;
use super::packages;
use crate::shell;

pub(crate) const NAME: &str = "bpf-linker 0.13.0";
const VERSION: &str = "0.13.0";
/// What any usable `bpf-linker --version` begins with.
const SERIES: &str = "bpf-linker 0.13.";
/// The LLVMs that this bpf-linker can be built with.
const LLVMS: &[u32] = &[21, 22, 23];

/// The directory of a linker that fits this compiler: ours, else one in PATH.
pub(crate) fn find(compiler: &Compiler) -> Option<PathBuf> {
    let ours = Some(shell::tools().join("bin")).filter(|_| ours_has(compiler.llvm));
    let path = env::var_os("PATH").unwrap_or_default();

    ours.into_iter()
        .chain(env::split_paths(&path))
        .find(|directory| {
            let linker = directory.join("bpf-linker");
            linker.is_file()
                && shell::first_line(Command::new(linker).arg("--version"))
                    .is_some_and(|version| version.starts_with(SERIES))
        })
}

/// Whether the linker can be built: LLVM is here, or root may fetch it.
pub(crate) fn can_build(compiler: &Compiler) -> bool {
    LLVMS.contains(&compiler.llvm)
        && (llvm_config(compiler.llvm).is_file()
            || shell::is_root() && packages::are_known(&llvm_packages(compiler.llvm)))
}

/// Builds the linker and returns its directory.
pub(crate) fn install(compiler: &Compiler) -> Result<PathBuf> {
    let llvm = compiler.llvm;
    if shell::is_root() && packages::are_for_apt() {
        packages::install(&llvm_packages(llvm), "about 30 s")?;
    }
    if !llvm_config(llvm).is_file() {
        bail!("{NAME} needs LLVM {llvm} with its headers");
    }

    shell::say(&format!("installing {NAME} into target/tools (about 70 s)"));
    let mut cargo = shell::cargo();
    cargo
        .env("LLVM_PREFIX", prefix(llvm))
        .args(["install", "bpf-linker", "--version", VERSION, "--force"])
        .args(["--no-default-features", "--features"])
        .arg(format!("llvm-{llvm}"))
        .arg("--root")
        .arg(shell::tools());
    shell::run_logged(&mut cargo, &shell::tools().join("bpf-linker.log"))?;
    Ok(shell::tools().join("bin"))
}

/// Whether the linker in our tools is not known to be built for another LLVM.
fn ours_has(llvm: u32) -> bool {
    let outcome = fs::read_to_string(shell::tools().join("bpf-toolchain")).unwrap_or_default();
    outcome
        .lines()
        .find_map(|line| line.strip_prefix("LLVM="))
        .is_none_or(|built_for| built_for == llvm.to_string())
}

fn prefix(llvm: u32) -> PathBuf {
    Path::new("/usr/lib").join(format!("llvm-{llvm}"))
}

fn llvm_config(llvm: u32) -> PathBuf {
    prefix(llvm).join("bin/llvm-config")
}

fn llvm_packages(llvm: u32) -> Vec<String> {
    let mut wanted = vec![format!("llvm-{llvm}-dev"), format!("libpolly-{llvm}-dev")];
    if shell::find("c++").is_none() {
        wanted.push("g++".to_owned());
    }
    wanted
}
