//! The `sluice` binary under test.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The binary that `SLUICE_BIN` names, else the one of this build, brought up to date.
///
/// # Panics
///
/// It does not build.
pub fn sluice() -> &'static Path {
    static SLUICE: OnceLock<PathBuf> = OnceLock::new();
    SLUICE.get_or_init(|| std::env::var_os("SLUICE_BIN").map_or_else(build, PathBuf::from))
}

fn build() -> PathBuf {
    let profile = profile_dir();
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .current_dir(workspace())
        .args([
            "build",
            "--quiet",
            "--package",
            "lb-userspace",
            "--bin",
            "sluice",
        ])
        .arg("--target-dir")
        .arg(target());
    if profile.ends_with("release") {
        cargo.arg("--release");
    }
    let status = cargo.status().expect("cargo is there");
    assert!(status.success(), "{cargo:?} failed");
    profile.join("sluice")
}

/// The target directory of this build.
pub fn target() -> PathBuf {
    let profile = profile_dir();
    let target = profile.parent();
    target
        .expect("a profile is in a target directory")
        .to_owned()
}

/// Where the binaries of this build are: this test is in `deps` below it.
fn profile_dir() -> PathBuf {
    let test = std::env::current_exe().expect("a test is a file");
    let profile = test.ancestors().nth(2);
    profile
        .expect("a test is below a target directory")
        .to_owned()
}

/// The root of the workspace.
pub fn workspace() -> &'static Path {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests)
}
