//! Compilers that can build the library for the BPF target: they have its sources.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::shell;

/// Debian's packages of a compiler with its sources, and the LLVM that fits it.
pub(crate) const PACKAGES: &[&str] = &[
    "rustc-web",
    "cargo-web",
    "rust-web-src",
    "llvm-22-dev",
    "libpolly-22-dev",
];

pub(crate) struct Compiler {
    pub(crate) rustc: PathBuf,
    pub(crate) cargo: PathBuf,
    /// The major version of the LLVM inside; the linker's must be the same.
    pub(crate) llvm: u32,
    /// Whether it is a stable compiler that must be told to accept unstable options: 1 or 0.
    pub(crate) bootstrap: u8,
}

/// Every usable compiler on this machine, the best first.
pub(crate) fn all() -> Vec<Compiler> {
    nightly().into_iter().chain(system()).collect()
}

/// The nightly compiler of rustup, where it has the component `rust-src`.
fn nightly() -> Option<Compiler> {
    let mut which = Command::new("rustup");
    which.args(["which", "--toolchain", "nightly", "rustc"]);
    let rustc = PathBuf::from(shell::first_line(&mut which)?);

    inspect(&rustc, 0)
}

/// The compiler of the system's packages.
pub(crate) fn system() -> Option<Compiler> {
    inspect(Path::new("/usr/bin/rustc"), 1)
}

fn inspect(rustc: &Path, bootstrap: u8) -> Option<Compiler> {
    let cargo = rustc.with_file_name("cargo");
    let version = shell::all_lines(direct(rustc).arg("-vV"))?;
    let field = |name: &str| version.lines().find_map(|line| line.strip_prefix(name));
    let release = field("release: ")?;
    let llvm = field("LLVM version: ")?.split('.').next()?.parse().ok()?;
    let sysroot = shell::first_line(direct(rustc).args(["--print", "sysroot"]))?;

    let fits = cargo.is_file() && is_new_enough(release) && has_sources(sysroot.as_ref(), release);
    fits.then(|| Compiler {
        rustc: rustc.to_owned(),
        cargo,
        llvm,
        bootstrap,
    })
}

/// A compiler that is not led elsewhere by rustup's variables.
fn direct(rustc: &Path) -> Command {
    let mut command = Command::new(rustc);
    command.env_remove("RUSTUP_TOOLCHAIN").env_remove("RUSTC");
    command
}

/// Whether a release such as `1.97.0-nightly` is at least what the workspace asks for.
fn is_new_enough(release: &str) -> bool {
    let version = |text: &str| -> Option<(u32, u32)> {
        let (major, rest) = text.split_once('.')?;
        let minor = rest.split_once('.').map_or(rest, |(minor, _)| minor);
        Some((major.parse().ok()?, minor.parse().ok()?))
    };
    version(release) >= version(env!("CARGO_PKG_RUST_VERSION"))
}

/// Whether the sources of the library are there and, where their directory says it, of this release.
fn has_sources(sysroot: &Path, release: &str) -> bool {
    let Ok(sources) = sysroot.join("lib/rustlib/src/rust").canonicalize() else {
        return false;
    };
    let directory = sources.file_name().unwrap_or_default().to_string_lossy();
    let is_of_this_release = directory
        .strip_prefix("rustc-")
        .is_none_or(|other| other == release);

    is_of_this_release
        && sources.join("library/Cargo.lock").is_file()
        && sources.join("library/core/src/lib.rs").is_file()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compares_releases_as_numbers() {
        assert!(is_new_enough("1.100.0"));
        assert!(is_new_enough("1.97.0-nightly"));
        assert!(is_new_enough("2.0.0"));
        assert!(!is_new_enough("1.63.0"));
        assert!(!is_new_enough("1.9.0"));
        assert!(!is_new_enough("strange"));
    }
}
