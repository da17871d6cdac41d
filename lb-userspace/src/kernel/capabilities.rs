//! What the process must be allowed to do before the kernel lets it load a program.

use std::fmt;

/// Names and bits of `linux/capability.h`.
const NEEDED: [(&str, u8); 3] = [("CAP_NET_ADMIN", 12), ("CAP_PERFMON", 38), ("CAP_BPF", 39)];
/// Before Linux 5.8 there was only this for the last two, and it still includes them.
const CAP_SYS_ADMIN: u8 = 21;

/// Capabilities that are needed and not there.
#[derive(Debug, PartialEq, Eq)]
pub struct Missing(Vec<&'static str>);

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(", "))
    }
}

/// Looks for what is missing from the effective set of this process.
pub(super) fn check() -> Result<(), Missing> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let missing = missing(effective(&status));
    if missing.is_empty() {
        return Ok(());
    }
    Err(Missing(missing))
}

/// The `CapEff` line of proc(5); nothing is allowed where it cannot be read.
fn effective(status: &str) -> u64 {
    status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or(0)
}

fn missing(effective: u64) -> Vec<&'static str> {
    let has = |bit: u8| effective & (1 << bit) != 0;
    NEEDED
        .iter()
        .filter(|(name, bit)| !has(*bit) && (*name == "CAP_NET_ADMIN" || !has(CAP_SYS_ADMIN)))
        .map(|(name, _)| *name)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{effective, missing};

    #[test]
    fn reads_the_effective_set() {
        let status = "Name:\tsluice\nCapPrm:\tffff\nCapEff:\t0000008000001000\n";

        assert_eq!(effective(status), 1 << 39 | 1 << 12);
        assert_eq!(effective(""), 0);
    }

    #[test]
    fn names_what_is_missing() {
        assert_eq!(missing(u64::MAX), Vec::<&str>::new());
        assert_eq!(missing(1 << 12 | 1 << 21), Vec::<&str>::new());
        assert_eq!(missing(1 << 21), ["CAP_NET_ADMIN"]);
        assert_eq!(missing(0), ["CAP_NET_ADMIN", "CAP_PERFMON", "CAP_BPF"]);
    }
}
