//! The package managers of Linux distributions.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::shell;

/// While this file exists and answers 101, Debian's packages start no services.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// A program that installs packages.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manager {
    Apt,
    Dnf,
    Pacman,
    Apk,
}

impl Manager {
    /// The manager of this machine.
    pub(crate) fn here() -> Option<Self> {
        [Self::Apt, Self::Dnf, Self::Pacman, Self::Apk]
            .into_iter()
            .find(|manager| shell::find(manager.install()[0]).is_some())
    }

    /// The words that install packages.
    fn install(self) -> &'static [&'static str] {
        match self {
            Self::Apt => &["apt-get", "install", "-y", "--no-install-recommends"],
            Self::Dnf => &["dnf", "install", "-y"],
            Self::Pacman => &["pacman", "-S", "--needed", "--noconfirm"],
            Self::Apk => &["apk", "add"],
        }
    }

    /// Where tables of packages hold this manager's.
    pub(crate) fn column(self) -> usize {
        match self {
            Self::Apt => 0,
            Self::Dnf => 1,
            Self::Pacman => 2,
            Self::Apk => 3,
        }
    }

    /// What a person types to install a package.
    pub(crate) fn line(self, package: &str) -> String {
        format!("sudo {} {package}", self.install().join(" "))
    }
}

pub(crate) fn are_for_apt() -> bool {
    Manager::here() == Some(Manager::Apt)
}

/// Whether apt has these packages, as far as its lists say.
pub(crate) fn are_known(packages: &[String]) -> bool {
    are_for_apt()
        && shell::all_lines(Command::new("apt-cache").arg("show").args(packages)).is_some()
}

/// Installs what is not there yet. Needs root.
///
/// # Errors
///
/// Shows the end of the package manager's output.
pub(crate) fn install<S: AsRef<OsStr> + AsRef<str>>(packages: &[S], time: &str) -> Result<()> {
    let missing: Vec<&str> = packages
        .iter()
        .map(AsRef::as_ref)
        .filter(|package| !is_installed(package))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let manager = Manager::here().context("no package manager that is known here")?;

    shell::say(&format!("installing {} ({time})", missing.join(" ")));
    let _quiet = Quiet::begin();
    let attempt = || invoke(manager.install(), &missing);
    if manager != Manager::Apt {
        return attempt();
    }
    // The lists may be absent or too old: fetch them only when the packages cannot be had.
    attempt().or_else(|_| {
        shell::say("fetching the package lists (about 10 s)");
        invoke(&["apt-get", "update"], &[])?;
        attempt()
    })
}

fn invoke(words: &[&str], packages: &[&str]) -> Result<()> {
    let mut command = Command::new(words[0]);
    command
        .env("DEBIAN_FRONTEND", "noninteractive")
        .args(&words[1..])
        .args(packages);
    shell::run_logged(&mut command, &shell::tools().join("packages.log"))
}

fn is_installed(package: &str) -> bool {
    let mut query = Command::new("dpkg-query");
    query.args(["--show", "--showformat=${db:Status-Status}", package]);
    shell::first_line(&mut query).is_some_and(|status| status == "installed")
}

/// Keeps packages from starting services until it is dropped.
struct Quiet {
    is_ours: bool,
}

impl Quiet {
    fn begin() -> Self {
        let policy = Path::new(POLICY);
        let is_ours = are_for_apt()
            && !policy.exists()
            && fs::write(policy, "#!/bin/sh\nexit 101\n").is_ok()
            && fs::set_permissions(policy, fs::Permissions::from_mode(0o755)).is_ok();
        Self { is_ours }
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        if self.is_ours && fs::remove_file(POLICY).is_err() {
            shell::say(&format!("please remove {POLICY}"));
        }
    }
}
