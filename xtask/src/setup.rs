//! Finds what the kernel half and the tests need, or installs it.
//!
//! The outcome is `target/tools/bpf-toolchain`, which the build script of the daemon reads.

mod compiler;
mod linker;
mod packages;
mod test_tools;

use std::fs;

use anyhow::{Context as _, Result, bail};
use clap::Args;

use self::compiler::Compiler;
use crate::shell;

#[derive(Args)]
pub(crate) struct Options {
    /// Install what the tests need as well: brokers, clients, network tools.
    #[arg(long)]
    tests: bool,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    toolchain()?;
    if options.tests {
        let missing = test_tools::install();
        if !missing.is_empty() {
            bail!("the tests need more:\n  {}", missing.join("\n  "));
        }
    }
    shell::say("everything is in place");
    Ok(())
}

/// Installs what the tests need and says what cannot be had: those tests are skipped.
pub(crate) fn test_tools() {
    for missing in test_tools::install() {
        shell::say(&missing);
    }
}

/// Installs mosquitto where it is missing and root may.
pub(crate) fn mosquitto() -> Result<()> {
    test_tools::install_mosquitto()
}

/// Installs what Sluice is measured beside and says what cannot be had.
pub(crate) fn peers() {
    if let Err(reason) = test_tools::install_peers() {
        shell::say(&format!("{reason:#}"));
    }
}

/// What a person types to get `mosquitto_pub` and `mosquitto_sub`.
pub(crate) fn line_for_clients() -> String {
    test_tools::line_for_clients()
}

/// Whether the kernel half can be built, after an attempt to make it so.
pub(crate) enum KernelHalf {
    Built,
    LeftOut,
}

/// Sets the toolchain up; where that cannot be done, says so once, with the remedy.
pub(crate) fn kernel_half() -> KernelHalf {
    match toolchain() {
        Ok(()) => KernelHalf::Built,
        Err(reason) => {
            shell::say(&format!("building without the kernel half: {reason:#}"));
            KernelHalf::LeftOut
        }
    }
}

fn toolchain() -> Result<()> {
    let compiler = find_or_install_compiler()?;
    let linker_dir = match linker::find(&compiler) {
        Some(directory) => directory,
        None => linker::install(&compiler)?,
    };

    let text = format!(
        "RUSTC={}\nCARGO={}\nLINKER_DIR={}\nBOOTSTRAP={}\nLLVM={}\n",
        compiler.rustc.display(),
        compiler.cargo.display(),
        linker_dir.display(),
        compiler.bootstrap,
        compiler.llvm,
    );
    write_if_new(&text)
}

fn find_or_install_compiler() -> Result<Compiler> {
    let usable = |found: &Compiler| linker::find(found).is_some() || linker::can_build(found);
    if let Some(found) = compiler::all().into_iter().find(usable) {
        return Ok(found);
    }

    let wanted = compiler::PACKAGES;
    if shell::is_root() && packages::are_for_apt() {
        packages::install(wanted, "about 60 s")?;
        if let Some(found) = compiler::system() {
            return Ok(found);
        }
    }
    bail!(remedy());
}

/// What is missing and what to type.
fn remedy() -> String {
    let Some(found) = compiler::all().into_iter().next() else {
        return format!(
            "the kernel half is built by a Rust compiler that has the sources of its library, \
             and this machine has none. On Debian 12 or later, run\n  \
               sudo apt-get install {}\nElsewhere, run\n  \
               rustup toolchain install nightly --profile minimal --component rust-src\n\
             and put a prebuilt {} in PATH. Then run `cargo xtask setup` again.",
            compiler::PACKAGES.join(" "),
            linker::NAME,
        );
    };
    format!(
        "the kernel half is linked by {}, and this machine has neither that nor the LLVM {llvm} \
         to build it with. On Debian, run\n  \
           sudo apt-get install llvm-{llvm}-dev libpolly-{llvm}-dev g++\n\
         Elsewhere, put a prebuilt one in PATH. Then run `cargo xtask setup` again.",
        linker::NAME,
        llvm = found.llvm,
    )
}

/// Leaves an unchanged file alone, because a newer one makes cargo build the kernel half again.
fn write_if_new(text: &str) -> Result<()> {
    let file = shell::tools().join("bpf-toolchain");
    if fs::read_to_string(&file).is_ok_and(|old| old == text) {
        return Ok(());
    }
    fs::create_dir_all(shell::tools())
        .and_then(|()| fs::write(&file, text))
        .with_context(|| format!("cannot write {}", file.display()))
}
