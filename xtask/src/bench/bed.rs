//! Clients, balancer and brokers of one contender, ready to be measured.

use std::fs;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::contender::Contender;
use super::host::{End, Host};
use super::measure::{self, Figures, Tools};
use super::scenario::Cell;
use crate::process::{self, Process};
use crate::shell;

/// How many ticks a balancer has to be ready: ten seconds.
const TICKS_TO_BE_READY: u32 = 100;
/// The stand-in ends by itself, should nobody be left to end it.
const BROKER_SECONDS: u32 = 1800;

/// Dropped, it ends its processes; the networks go with them.
pub(super) struct Bed {
    contender: Contender,
    // Fields are dropped in order: the balancer ends before the brokers do.
    balancer: Option<Process>,
    broker: Process,
    hosts: Hosts,
    directory: PathBuf,
}

struct Hosts {
    clients: Host,
    balancer: Host,
    brokers: Host,
}

impl Bed {
    pub(super) fn new(tools: &Tools, contender: Contender) -> Result<Self> {
        let directory = shell::target().join("bench-run").join(contender.name());
        fs::create_dir_all(&directory)
            .with_context(|| format!("cannot create {}", directory.display()))?;
        let hosts = Hosts::new(contender)?;

        let mut command = Command::new(&tools.broker);
        command.args(["--listen", "0.0.0.0:1883"]);
        command.args(["--threads", &tools.threads.to_string()]);
        command.args(["--seconds", &BROKER_SECONDS.to_string()]);
        let log = directory.join("broker.log");
        let start = || Process::start("the broker stand-in", &mut command, log);
        let broker = hosts.brokers.run(start)?;

        let mut bed = Self {
            contender,
            balancer: None,
            broker,
            hosts,
            directory,
        };
        if let Some(mut command) = contender.command(tools, &bed.directory)? {
            let log = bed.directory.join("balancer.log");
            let start = || Process::start(contender.name(), &mut command, log);
            bed.balancer = Some(bed.hosts.balancer.run(start)?);
        }
        bed.until_ready()?;
        Ok(bed)
    }

    fn until_ready(&mut self) -> Result<()> {
        for _ in 0..TICKS_TO_BE_READY {
            self.broker.check()?;
            if let Some(balancer) = &mut self.balancer {
                balancer.check()?;
            }
            let connect = || Ok(TcpStream::connect(self.contender.address()).is_ok());
            if self.hosts.clients.run(connect)? {
                return Ok(());
            }
            if process::tick() {
                bail!("interrupted");
            }
        }
        bail!("{} is not ready after ten seconds", self.contender);
    }

    /// Puts one round of load on it.
    pub(super) fn measure(&mut self, tools: &Tools, cell: &Cell) -> Result<Figures> {
        let mut command = measure::command(tools, cell, self.contender.address());
        let said = self.directory.join("load.json");
        let start = || Process::start("the load generator", &mut command, said.clone());
        let mut load = self.hosts.clients.run(start)?;
        load.finish()?;
        if let Some(balancer) = &mut self.balancer {
            balancer.check()?;
        }
        measure::read(&said)
    }

    /// What a reader must know of how the connections travelled.
    pub(super) fn oddities(&self, tools: &Tools) -> Option<String> {
        if self.contender != Contender::SluiceSplice {
            return None;
        }
        let mut status = Command::new(&tools.sluice);
        let control = self.directory.join("control.sock");
        status.args(["status", "--json", "--control"]).arg(control);
        let others = match status.output() {
            Ok(output) if output.status.success() => measure::not_spliced(&output.stdout)?,
            Ok(output) => String::from_utf8_lossy(&output.stderr)
                .trim_end()
                .to_owned(),
            Err(reason) => reason.to_string(),
        };
        Some(format!("{}: not spliced: {others}", self.contender))
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        self.balancer = None;
        let pins = self.contender.pins();
        // The daemon removes them, unless it had to be killed.
        if pins.exists() && fs::remove_dir_all(&pins).is_err() {
            shell::say(&format!("cannot remove {}", pins.display()));
        }
    }
}

impl Hosts {
    fn new(contender: Contender) -> Result<Self> {
        let hosts = Self {
            clients: Host::new()?,
            balancer: Host::new()?,
            brokers: Host::new()?,
        };
        let Self {
            clients,
            balancer,
            brokers,
        } = &hosts;
        let end = |name, addresses| End { name, addresses };
        let uplink = end("uplink", &["10.1.0.1"]);
        balancer.join(end("clients", &["10.1.0.2"]), clients, uplink)?;
        let uplink = end("uplink", &["10.2.0.2", "10.2.0.3"]);
        balancer.join(end("brokers", &["10.2.0.1"]), brokers, uplink)?;
        for host in [clients, balancer, brokers] {
            // BBR, a default of some hosts, paces by a timer, and the timer would be measured.
            // Of the others only this one is allowed everywhere; nothing is lost here.
            host.sysctl("net.ipv4.tcp_congestion_control", "reno")?;
            host.sysctl("net.ipv4.tcp_tw_reuse", "1")?;
            host.sysctl("net.core.somaxconn", "4096")?;
        }
        // Each client that has gone keeps its port for a minute.
        clients.sysctl("net.ipv4.ip_local_port_range", "1024 65535")?;
        if contender == Contender::Forward {
            balancer.sysctl("net.ipv4.ip_forward", "1")?;
            clients.ip("route add default via 10.1.0.2")?;
            brokers.ip("route add default via 10.2.0.1")?;
        }
        Ok(hosts)
    }
}
