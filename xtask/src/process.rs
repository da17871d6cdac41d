//! Child processes that end with the value that holds them, and the signals that end all.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{self, SaFlags, SigAction, SigHandler, SigSet, Signal};
use nix::unistd::Pid;

use crate::shell;

const TICK: Duration = Duration::from_millis(100);
/// How long a child may take to end before it is killed.
const TICKS_TO_END: u32 = 100;

/// A running child, whose output goes to a file. Dropping it ends it.
pub(crate) struct Process {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a child in a process group of its own: Ctrl-C reaches this process alone, which
    /// then ends its children in order.
    pub(crate) fn start(name: &'static str, command: &mut Command, log: PathBuf) -> Result<Self> {
        let output =
            File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let errors = output.try_clone().context("cannot copy a file handle")?;
        let child = command
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .process_group(0)
            .spawn()
            .with_context(|| format!("{name} does not start"))?;

        Ok(Self { name, child, log })
    }

    /// Fails, with the end of its log, when the child has ended by itself.
    pub(crate) fn check(&mut self) -> Result<()> {
        let Self { name, child, log } = self;
        if let Some(status) = child.try_wait()? {
            let file = shell::typed(log);
            bail!(
                "{name} ended early ({status}); the end of {file}:\n{}",
                shell::last_lines(log)
            );
        }
        Ok(())
    }

    /// Waits for its end; fails when it does not succeed, or when a signal comes first.
    pub(crate) fn finish(&mut self) -> Result<()> {
        loop {
            if let Some(status) = self.child.try_wait()? {
                let Self { name, log, .. } = self;
                if !status.success() {
                    bail!("{name} failed ({status}): {}", shell::last_lines(log));
                }
                return Ok(());
            }
            if tick() {
                bail!("interrupted");
            }
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal to the child alone.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.child.id())?);
        signal::kill(pid, signal).with_context(|| format!("cannot signal {}", self.name))
    }

    /// Waits for the first line that the child prints.
    pub(crate) fn first_line(&mut self) -> Result<String> {
        loop {
            let text = fs::read_to_string(&self.log).unwrap_or_default();
            if let Some((line, _)) = text.split_once('\n') {
                return Ok(line.to_owned());
            }
            self.check()?;
            if tick() {
                bail!("interrupted");
            }
        }
    }

    fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    fn terminate(&mut self) -> Result<()> {
        self.signal(Signal::SIGTERM)?;
        for _ in 0..TICKS_TO_END {
            if self.has_ended() {
                return Ok(());
            }
            thread::sleep(TICK);
        }
        shell::say(&format!("{} does not end: killing it", self.name));
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.has_ended() {
            return;
        }
        if let Err(reason) = self.terminate() {
            shell::say(&format!("cannot end {}: {reason:#}", self.name));
        }
    }
}

/// Whether SIGINT, SIGTERM or SIGHUP came since `watch_signals`.
static SIGNALLED: AtomicBool = AtomicBool::new(false);

/// Makes the signals that end a program something to look at. Children do not inherit this.
pub(crate) fn watch_signals() -> Result<()> {
    extern "C" fn note(_: i32) {
        SIGNALLED.store(true, Ordering::Relaxed);
    }

    let action = SigAction::new(
        SigHandler::Handler(note),
        SaFlags::SA_RESTART,
        SigSet::empty(),
    );
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        // SAFETY: all that the handler does is to store to an atomic, which is async-signal-safe.
        unsafe { signal::sigaction(signal, &action) }.context("cannot watch signals")?;
    }
    Ok(())
}

/// Waits for a tick and tells whether a signal has come.
pub(crate) fn tick() -> bool {
    thread::sleep(TICK);
    is_signalled()
}

/// Whether a signal has come.
pub(crate) fn is_signalled() -> bool {
    SIGNALLED.load(Ordering::Relaxed)
}
