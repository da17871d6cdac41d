//! The brokers behind the demo: one process with three ports, which behaves as a cluster.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use clap::ValueEnum;

use crate::{setup, shell};

/// The ports that are taken when they are free.
const PORTS: [u16; 3] = [18831, 18832, 18833];

/// Which program the brokers are.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Wish {
    /// Mosquitto where it is installed or can be, else the embedded broker.
    Auto,
    /// Mosquitto.
    Mosquitto,
    /// A small broker that is built from this repository.
    Embedded,
}

/// Brokers that can be started.
pub(crate) struct Cluster {
    pub(crate) command: Command,
    pub(crate) addresses: [SocketAddr; 3],
    /// For a sentence: what the brokers are.
    pub(crate) kind: &'static str,
}

impl Cluster {
    /// Installs or builds what is wished for.
    pub(crate) fn prepare(wish: Wish, directory: &Path) -> Result<Self> {
        if wish == Wish::Embedded {
            return Self::embedded();
        }
        match find_or_install_mosquitto() {
            Ok(program) => Self::mosquitto(&program, directory),
            Err(reason) if wish == Wish::Auto => {
                shell::say(&format!(
                    "the embedded broker takes mosquitto's place: {reason:#}"
                ));
                Self::embedded()
            }
            Err(reason) => Err(reason),
        }
    }

    fn mosquitto(program: &Path, directory: &Path) -> Result<Self> {
        let addresses = free_addresses()?;
        let listeners: String = addresses
            .iter()
            .map(|address| format!("listener {} {}\n", address.port(), address.ip()))
            .collect();
        let file = directory.join("mosquitto.conf");
        let text = format!("{listeners}allow_anonymous true\npersistence false\n");
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;

        let mut command = Command::new(program);
        command.arg("-c").arg(file);
        Ok(Self {
            command,
            addresses,
            kind: "one mosquitto with three ports",
        })
    }

    fn embedded() -> Result<Self> {
        let crate_dir = shell::root().join("xtask/demo-broker");
        let target = shell::root().join("target/demo-broker");
        shell::say("building the embedded broker (about 2 min the first time)");
        let mut cargo = shell::cargo();
        cargo
            .args(["build", "--release", "--locked", "--manifest-path"])
            .arg(crate_dir.join("Cargo.toml"))
            .arg("--target-dir")
            .arg(&target);
        shell::run(&mut cargo)?;

        let addresses = free_addresses()?;
        let mut command = Command::new(target.join("release/demo-broker"));
        command.args(addresses.map(|address| address.to_string()));
        Ok(Self {
            command,
            addresses,
            kind: "the embedded broker with three ports",
        })
    }
}

fn find_or_install_mosquitto() -> Result<PathBuf> {
    setup::mosquitto()?;
    shell::find("mosquitto").context("mosquitto is not where programs are")
}

/// The preferred addresses, and others in place of those that are taken.
fn free_addresses() -> Result<[SocketAddr; 3]> {
    let bind = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    let [first, second, third] = PORTS.map(|port| bind(port).or_else(|_| bind(0)));
    let held = [first?, second?, third?];

    let [first, second, third] = held.each_ref().map(TcpListener::local_addr);
    Ok([first?, second?, third?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_each_broker_an_address_of_its_own() {
        let [first, second, third] = free_addresses().unwrap();

        assert!(first != second && second != third && third != first);
    }
}
