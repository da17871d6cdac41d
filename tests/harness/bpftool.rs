//! What is pinned, as bpftool shows it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;

use crate::mounts::BPF_FS;
use crate::process;

/// A pin directory of one test; removed with all in it when dropped.
#[derive(Debug)]
pub struct Pins(PathBuf);

/// An entry of a map, with the names of its BTF.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub key: Value,
    pub value: Value,
}

impl Pins {
    /// A directory that does not exist yet.
    ///
    /// # Errors
    ///
    /// A reason to skip: this machine or user has no BPF, or no bpftool.
    pub fn new() -> Result<Self, String> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        process::root()?;
        process::installed("bpftool")?;
        if !is_mounted() {
            // As the daemon itself would do; not every container may.
            drop(
                Command::new("mount")
                    .args(["-t", "bpf", "bpf", BPF_FS])
                    .output(),
            );
        }
        if !is_mounted() {
            return Err(format!("needs a bpf file system on {BPF_FS}"));
        }
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("sluice-test-{}-{number}", std::process::id());
        Ok(Self(Path::new(BPF_FS).join(name)))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The pin of a map.
    pub fn map(&self, name: &str) -> PathBuf {
        self.0.join("maps").join(name)
    }

    /// Every pin, by its path below the directory.
    pub fn list(&self) -> Vec<String> {
        let mut pins = Vec::new();
        for directory in ["filters", "links", "maps", "progs"] {
            for pin in fs::read_dir(self.0.join(directory)).into_iter().flatten() {
                let pin = pin.expect("the directory can be listed").file_name();
                pins.push(format!("{directory}/{}", pin.display()));
            }
        }
        pins.sort();
        pins
    }

    /// The entries of a map.
    pub fn dump(&self, map: &str) -> Vec<Entry> {
        let dump = bpftool(&[
            "-j",
            "map",
            "dump",
            "pinned",
            &self.map(map).to_string_lossy(),
        ]);
        let entries = dump.as_array().expect("bpftool writes a list");
        let entry = |entry: &Value| {
            // A map of one entry for each index is printed without raw bytes beside.
            let named = entry.get("formatted").unwrap_or(entry);
            Entry {
                key: named["key"].clone(),
                value: named["value"].clone(),
            }
        };
        entries.iter().map(entry).collect()
    }

    /// The value of the only client with this id as its text.
    pub fn client(&self, id: &str) -> Value {
        let mut found: Vec<Entry> = self.dump("CLIENTS");
        found.retain(|entry| entry.key["id"] == id);
        assert_eq!(found.len(), 1, "clients called {id:?}: {found:?}");
        found.remove(0).value
    }

    /// The value of a backend.
    pub fn backend(&self, name: &str) -> Entry {
        let found = self
            .dump("BACKENDS")
            .into_iter()
            .find(|entry| entry.value["name"] == name);
        found.unwrap_or_else(|| panic!("no backend is called {name:?}"))
    }

    /// SYNs counted, for all listeners.
    pub fn syns(&self) -> u64 {
        let listeners = self.dump("LISTENERS");
        listeners
            .iter()
            .map(|entry| entry.value["syns"].as_u64().expect("it is a number"))
            .sum()
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        for directory in ["filters", "links", "progs", "maps"].map(|name| self.0.join(name)) {
            for pin in fs::read_dir(&directory).into_iter().flatten().flatten() {
                fs::remove_file(pin.path()).expect("root may remove a pin");
            }
            drop(fs::remove_dir(directory));
        }
        drop(fs::remove_dir(&self.0));
    }
}

fn is_mounted() -> bool {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    mounts.contains(&format!(" {BPF_FS} bpf "))
}

/// Runs bpftool; the JSON it prints, or null.
///
/// # Panics
///
/// It fails.
pub fn bpftool(arguments: &[&str]) -> Value {
    let output = Command::new("bpftool")
        .args(arguments)
        .output()
        .expect("bpftool is there");
    // In JSON it complains on the standard output.
    assert!(output.status.success(), "bpftool {arguments:?}: {output:?}");
    serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
}
