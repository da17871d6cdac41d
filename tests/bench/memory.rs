//! Memory of the kernel and of the balancer's processes.

use std::collections::HashMap;
use std::{fs, io};

use serde_json::{Value, json};

/// What the kernel takes for connections: sockets and map entries are slabs, counters of each CPU
/// are `Percpu`. Idle connections have no bytes in queues.
const OF_THE_KERNEL: [&str; 3] = ["Slab:", "Percpu:", "KernelStack:"];

/// In bytes, at one moment.
#[derive(Clone, Copy)]
pub(crate) struct Memory {
    kernel: i64,
    balancer: i64,
}

impl Memory {
    /// Of the whole kernel, and of a process with all that descend from it.
    pub(crate) fn now(balancer: Option<u32>) -> io::Result<Self> {
        let text = fs::read_to_string("/proc/meminfo")?;
        let kernel = text
            .lines()
            .filter(|line| OF_THE_KERNEL.iter().any(|name| line.starts_with(name)))
            .map(kilobytes)
            .sum();
        Ok(Self {
            kernel,
            balancer: balancer.map_or(Ok(0), resident)?,
        })
    }

    /// What it has become more until `later`.
    pub(crate) fn growth(&self, later: &Self) -> Value {
        json!({
            "kernel_bytes": later.kernel - self.kernel,
            "balancer_bytes": later.balancer - self.balancer,
        })
    }
}

/// The resident memory of a process and its descendants; pages that several share count for each.
fn resident(root: u32) -> io::Result<i64> {
    let mut parents = HashMap::new();
    let mut sizes = HashMap::new();
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(id) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        // A process may end while it is looked at.
        let status = fs::read_to_string(entry.path().join("status")).unwrap_or_default();
        let field = |name| status.lines().find(|line| line.starts_with(name));
        let parent = field("PPid:").and_then(|line| line[5..].trim().parse().ok());
        parents.insert(id, parent.unwrap_or(0_u32));
        sizes.insert(id, field("VmRSS:").map_or(0, kilobytes));
    }
    let is_ours = |mut id: u32| {
        while id != 0 && id != root {
            id = parents.get(&id).copied().unwrap_or(0);
        }
        id == root
    };
    let ours = sizes.iter().filter(|(id, _)| is_ours(**id));
    Ok(ours.map(|(_, size)| size).sum())
}

/// The number of a line of proc(5), which is in units of 1024 bytes.
fn kilobytes(line: &str) -> i64 {
    let number = line.split_ascii_whitespace().nth(1);
    number
        .and_then(|number| number.parse::<i64>().ok())
        .unwrap_or(0)
        << 10
}
