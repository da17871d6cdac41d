//! Processes that tests start, and what the kernel tells of them.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use crate::wait;

/// A running program; killed when dropped.
#[derive(Debug)]
pub struct Process(Child);

impl Process {
    /// Starts it.
    ///
    /// # Panics
    ///
    /// The program is not there.
    pub fn start(command: &mut Command) -> Self {
        let child = command.spawn();
        Self(child.unwrap_or_else(|error| panic!("{command:?}: {error}")))
    }

    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().expect("it is our child")
    }

    /// Waits for its end.
    pub fn end(&mut self) -> ExitStatus {
        wait::until_some("a process ends", || self.ended())
    }

    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).expect("it is our child");
    }

    /// Sends a signal as a terminal does; the process must have been started as a group's leader.
    pub fn signal_group(&self, signal: Signal) {
        killpg(self.pid(), signal).expect("it is our child");
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.id().try_into().expect("process ids are positive"))
    }

    /// Open descriptors.
    pub fn descriptors(&self) -> usize {
        count(Path::new(&format!("/proc/{}/fd", self.id())))
    }

    /// Waits until all its threads sleep: what was to be set up or cleaned up has been.
    pub fn until_idle(&self) {
        wait::until("all threads sleep", || {
            let threads = fs::read_dir(format!("/proc/{}/task", self.id()));
            let mut threads = threads.expect("the process runs").flatten();
            threads.all(|thread| {
                let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
                // The state stands behind the name, which is in parentheses.
                stat.rsplit_once(") ")
                    .is_some_and(|(_, rest)| rest.starts_with('S'))
            })
        });
    }

    pub fn threads(&self) -> usize {
        count(Path::new(&format!("/proc/{}/task", self.id())))
    }

    /// Memory in use, in bytes.
    pub fn resident_bytes(&self) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id()));
        let status = status.expect("the process runs");
        let kib = status.lines().find_map(|line| {
            line.strip_prefix("VmRSS:")?
                .strip_suffix("kB")?
                .trim()
                .parse::<usize>()
                .ok()
        });
        kib.expect("proc(5) tells VmRSS in kB") * 1024
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            self.0.kill().expect("it is our child");
            self.0.wait().expect("it is our child");
        }
    }
}

fn count(directory: &Path) -> usize {
    let entries = fs::read_dir(directory).expect("the process runs");
    entries.count()
}

/// Finds a program.
///
/// # Errors
///
/// A reason to skip: it is not installed.
pub fn installed(program: &str) -> Result<(), String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let for_root = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(Into::into);
    std::env::split_paths(&path)
        .chain(for_root)
        .any(|directory| directory.join(program).is_file())
        .then_some(())
        .ok_or_else(|| format!("needs {program}, which is not installed"))
}

/// Asks whether this process is root's.
///
/// # Errors
///
/// A reason to skip: it is not.
pub fn root() -> Result<(), String> {
    nix::unistd::Uid::effective()
        .is_root()
        .then_some(())
        .ok_or_else(|| "needs root".to_owned())
}
