//! CPU time of the whole system, and how much of it programs outside the benchmark took.

use std::collections::HashMap;
use std::os::unix::process::parent_id;
use std::time::Duration;
use std::{fs, io};

/// What /proc counts in is a hundredth of a second on every architecture.
const TICK: Duration = Duration::from_millis(10);
/// `PF_KTHREAD`: what kernel threads do is work of the network.
const KERNEL_THREAD: u64 = 0x0020_0000;

/// CPU time since boot, in ticks.
pub(crate) struct Snapshot {
    busy: u64,
    stolen: u64,
    others: u64,
}

/// CPU time between two snapshots.
pub(crate) struct Spent {
    /// Of all processors: processes, the kernel, interrupts.
    pub(crate) busy: Duration,
    /// What the hypervisor gave to other machines.
    pub(crate) stolen: Duration,
    /// The part of `busy` of processes that the benchmark did not start. Many kernels count
    /// interrupts as time of the process that they interrupt, so it is a little too much.
    pub(crate) others: Duration,
}

impl Snapshot {
    pub(crate) fn take() -> io::Result<Self> {
        let others = others()?;
        let stat = fs::read_to_string("/proc/stat")?;
        let line = stat.lines().next().unwrap_or_default();
        let fields: Vec<u64> = numbers(line).collect();
        let field = |index: usize| fields.get(index).copied().unwrap_or_default();
        // user, nice, system, (idle, iowait,) irq, softirq, steal: proc(5).
        Ok(Self {
            busy: [0, 1, 2, 5, 6].map(field).iter().sum(),
            stolen: field(7),
            others,
        })
    }

    pub(crate) fn until(&self, later: &Self) -> Spent {
        Spent {
            busy: time(self.busy, later.busy),
            stolen: time(self.stolen, later.stolen),
            others: time(self.others, later.others),
        }
    }
}

fn time(from: u64, to: u64) -> Duration {
    let ticks = to.saturating_sub(from);
    TICK * u32::try_from(ticks).unwrap_or(u32::MAX)
}

struct Process {
    parent: u32,
    flags: u64,
    /// With those of its children that have ended.
    ticks: u64,
}

/// Ticks of all processes that do not descend from the one that started this.
fn others() -> io::Result<u64> {
    let processes = processes()?;
    let root = parent_id();
    let is_ours = |mut id: u32| {
        loop {
            if id == root {
                return true;
            }
            match processes.get(&id) {
                Some(process) if process.parent != id => id = process.parent,
                _ => return false,
            }
        }
    };
    let others = processes
        .iter()
        .filter(|(id, process)| process.flags & KERNEL_THREAD == 0 && !is_ours(**id));
    Ok(others.map(|(_, process)| process.ticks).sum())
}

fn processes() -> io::Result<HashMap<u32, Process>> {
    let mut processes = HashMap::new();
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let Some(id) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        // A process may end while it is looked at.
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        processes.extend(parse(&stat).map(|process| (id, process)));
    }
    Ok(processes)
}

/// The name, in parentheses, may hold anything; the fields after it are numbers but for the first.
fn parse(stat: &str) -> Option<Process> {
    let (_, fields) = stat.rsplit_once(')')?;
    let fields: Vec<u64> = numbers(fields.trim_start()).collect();
    // ppid, pgrp, session, tty, tpgid, flags, four of faults, utime, stime, cutime, cstime: proc(5).
    Some(Process {
        parent: u32::try_from(*fields.first()?).ok()?,
        flags: *fields.get(5)?,
        ticks: fields.get(10..14)?.iter().sum(),
    })
}

/// The numbers after the first word. What is negative (no terminal) counts as zero.
fn numbers(line: &str) -> impl Iterator<Item = u64> {
    let words = line.split_ascii_whitespace().skip(1);
    words.map(|word| word.parse().unwrap_or(0))
}
