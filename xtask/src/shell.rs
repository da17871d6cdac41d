//! Running other programs, and the few places that every chore needs.

use std::env;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use anyhow::{Context as _, Result, bail};

/// Tells the person at the terminal what is going on.
#[expect(clippy::print_stdout, reason = "chores talk to the terminal")]
pub(crate) fn say(line: &str) {
    println!("sluice: {line}");
}

/// Prints text that is not about the chore itself.
#[expect(clippy::print_stdout, reason = "chores talk to the terminal")]
pub(crate) fn show(text: &str) {
    println!("{text}");
}

/// Tells why a chore ended.
#[expect(clippy::print_stderr, reason = "chores talk to the terminal")]
pub(crate) fn complain(reason: &anyhow::Error) {
    eprintln!("sluice: {reason:#}");
}

/// The root of the workspace that cargo runs this chore in.
pub(crate) fn root() -> &'static Path {
    static ROOT: LazyLock<PathBuf> = LazyLock::new(|| {
        let xtask = env::var_os("CARGO_MANIFEST_DIR");
        let xtask = xtask.map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
        xtask.parent().map_or_else(|| xtask.clone(), Path::to_owned)
    });
    &ROOT
}

/// Where setup keeps its tools, whatever the target directory of cargo is.
pub(crate) fn tools() -> PathBuf {
    root().join("target/tools")
}

/// The target directory of cargo.
pub(crate) fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// A path as a person at the root of the workspace would type it.
pub(crate) fn typed(path: &Path) -> String {
    path.strip_prefix(root())
        .unwrap_or(path)
        .display()
        .to_string()
}

/// The cargo that runs this chore, at the root of the workspace.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root());
    cargo
}

/// Finds a program in PATH or where only root's PATH leads.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let for_root = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);

    env::split_paths(&path)
        .chain(for_root)
        .map(|directory| directory.join(program))
        .find(|file| file.is_file())
}

/// Whether this process may install packages.
pub(crate) fn is_root() -> bool {
    nix::unistd::Uid::effective().is_root()
}

/// Runs a program to its end with this terminal.
///
/// # Errors
///
/// Names the program when it does not start or does not succeed.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("cannot start {}", name_of(command)))?;
    if !status.success() {
        bail!("{} failed: {status}", name_of(command));
    }
    Ok(())
}

/// Runs a program to its end, its output going to a file, of which a failure shows the end.
///
/// # Errors
///
/// Names the program when it does not start or does not succeed.
pub(crate) fn run_logged(command: &mut Command, log: &Path) -> Result<()> {
    if let Some(directory) = log.parent() {
        fs::create_dir_all(directory)
            .with_context(|| format!("cannot create {}", directory.display()))?;
    }
    let file = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    let errors = file.try_clone().context("cannot copy a file handle")?;
    let outcome = run(command.stdin(Stdio::null()).stdout(file).stderr(errors));

    outcome.with_context(|| format!("{}:\n{}", typed(log), last_lines(log)))
}

/// The first line a program prints on its standard output, when it succeeds.
pub(crate) fn first_line(command: &mut Command) -> Option<String> {
    let said = all_lines(command)?;
    said.lines().next().map(str::to_owned)
}

/// What a program prints on its standard output, when it succeeds.
pub(crate) fn all_lines(command: &mut Command) -> Option<String> {
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let said = output.status.success().then_some(output.stdout)?;
    String::from_utf8(said).ok()
}

/// The end of a log file.
pub(crate) fn last_lines(log: &Path) -> String {
    const LINES: usize = 20;

    let bytes = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}

fn name_of(command: &Command) -> String {
    let words: Vec<_> = [command.get_program()]
        .into_iter()
        .chain(command.get_args().take(2))
        .map(OsStr::to_string_lossy)
        .collect();
    format!("`{}`", words.join(" "))
}
