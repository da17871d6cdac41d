//! Clients, balancer and brokers of one contender, ready to be measured.

use std::fs;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::contender::Contender;
use super::host::{End, Host};
use super::measure::{self, Figures, Tools};
use super::scenario::{Broker, Cell, Disturbance, Place, Scenario};
use crate::process::{self, Process};
use crate::shell;

/// How many ticks a balancer has to be ready: ten seconds.
const TICKS_TO_BE_READY: u32 = 100;
/// The stand-in ends by itself, should nobody be left to end it.
const BROKER_SECONDS: u32 = 1800;

/// Dropped, it ends its processes; the networks go with them.
pub(super) struct Bed {
    contender: Contender,
    cell: Cell,
    // Fields are dropped in order: the balancer ends before the brokers do.
    balancer: Option<Process>,
    held: Option<Process>,
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
    pub(super) fn new(tools: &Tools, contender: Contender, cell: Cell) -> Result<Self> {
        let directory = shell::target().join("bench-run").join(contender.name());
        fs::create_dir_all(&directory)
            .with_context(|| format!("cannot create {}", directory.display()))?;
        let hosts = Hosts::new(contender)?;

        // Without a balancer, clients find the broker where the balancer would be.
        let port = match (cell.place, contender) {
            (Place::Local, Contender::Forward) | (Place::Remote, _) => 1883,
            (Place::Local, _) => 1884,
        };
        let mut command = match cell.broker {
            Broker::StandIn => stand_in(tools, port),
            Broker::Mosquitto => mosquitto(port, &directory)?,
        };
        let log = directory.join("broker.log");
        let start = || Process::start("the broker", &mut command, log);
        let broker = match cell.place {
            Place::Remote => hosts.brokers.run(start)?,
            Place::Local => hosts.balancer.run(start)?,
        };

        let mut bed = Self {
            contender,
            cell,
            balancer: None,
            held: None,
            broker,
            hosts,
            directory,
        };
        bed.start_balancer(tools)?;
        bed.until_ready()?;
        if cell.held > 0 {
            bed.hold(tools)?;
        }
        Ok(bed)
    }

    fn start_balancer(&mut self, tools: &Tools) -> Result<()> {
        let command = self.contender.command(tools, &self.cell, &self.directory)?;
        if let Some(mut command) = command {
            let log = self.directory.join("balancer.log");
            let start = || Process::start(self.contender.name(), &mut command, log);
            self.balancer = Some(self.hosts.balancer.run(start)?);
        }
        Ok(())
    }

    fn until_ready(&mut self) -> Result<()> {
        for _ in 0..TICKS_TO_BE_READY {
            self.broker.check()?;
            if let Some(balancer) = &mut self.balancer {
                balancer.check()?;
            }
            let address = self.contender.address(&self.cell);
            let connect = || Ok(TcpStream::connect(address).is_ok());
            if self.hosts.clients.run(connect)? {
                return Ok(());
            }
            if process::tick() {
                bail!("interrupted");
            }
        }
        bail!("{} is not ready after ten seconds", self.contender);
    }

    /// Connects clients that stay and say nothing.
    fn hold(&mut self, tools: &Tools) -> Result<()> {
        let mut command = measure::hold(tools, self.cell.held, self.contender.address(&self.cell));
        let mut held = self.start_load(&mut command, "held.json")?;
        held.first_line()?;
        self.held = Some(held);
        Ok(())
    }

    fn start_load(&self, command: &mut Command, said: &str) -> Result<Process> {
        let said = self.directory.join(said);
        let start = || Process::start("the load generator", command, said);
        self.hosts.clients.run(start)
    }

    /// Puts one round of load on it.
    pub(super) fn measure(&mut self, tools: &Tools) -> Result<Figures> {
        let address = self.contender.address(&self.cell);
        let balancer = self.balancer.as_ref().map(Process::id);
        let mut command = measure::command(tools, &self.cell, address, balancer);
        let mut load = self.start_load(&mut command, "load.json")?;
        let mut arrivals = self.disturb(tools)?;
        load.finish()?;
        if let Some(arrivals) = &mut arrivals {
            arrivals.finish()?;
        }
        if let Some(balancer) = &mut self.balancer {
            balancer.check()?;
        }
        measure::read(&self.directory.join("load.json"))
    }

    /// Lets happen what the case is about, in the middle of the measurement.
    fn disturb(&mut self, tools: &Tools) -> Result<Option<Process>> {
        let Cell {
            disturbance,
            warm_up_ms,
            measure_ms,
            ..
        } = self.cell;
        if disturbance == Disturbance::Calm {
            return Ok(None);
        }
        if disturbance == Disturbance::Arrivals {
            let address = self.contender.address(&self.cell);
            let mut command = measure::arrivals(tools, &self.cell, address);
            return self.start_load(&mut command, "arrivals.json").map(Some);
        }
        // A tick is a tenth of a second.
        for _ in 0..(warm_up_ms + measure_ms / 4) / 100 {
            if process::tick() {
                bail!("interrupted");
            }
        }
        if disturbance == Disturbance::Reload {
            if let Some(balancer) = &self.balancer {
                balancer.signal(self.contender.reload_signal())?;
            }
        } else {
            self.balancer = None;
            self.start_balancer(tools)?;
            self.until_ready()?;
        }
        Ok(None)
    }

    /// What a reader must know of how the connections travelled.
    pub(super) fn oddities(&self, tools: &Tools) -> Option<String> {
        let wanted = match self.contender {
            Contender::SluiceSplice => "splice",
            Contender::SluiceSockmap => "sockmap",
            Contender::Forward
            | Contender::SluiceCopy
            | Contender::HaproxyOne
            | Contender::Haproxy
            | Contender::Nginx => return None,
        };
        let mut status = Command::new(&tools.sluice);
        let control = self.directory.join("control.sock");
        status.args(["status", "--json", "--control"]).arg(control);
        let others = match status.output() {
            Ok(output) if output.status.success() => measure::not_by(&output.stdout, wanted)?,
            Ok(output) => String::from_utf8_lossy(&output.stderr)
                .trim_end()
                .to_owned(),
            Err(reason) => reason.to_string(),
        };
        Some(format!("{}: not by {wanted}: {others}", self.contender))
    }
}

fn stand_in(tools: &Tools, port: u16) -> Command {
    let mut command = Command::new(&tools.broker);
    command.args(["--listen", &format!("0.0.0.0:{port}")]);
    command.args(["--threads", &tools.threads.to_string()]);
    command.args(["--seconds", &BROKER_SECONDS.to_string()]);
    command
}

fn mosquitto(port: u16, directory: &std::path::Path) -> Result<Command> {
    let program = shell::find("mosquitto").context("mosquitto is not installed")?;
    let file = directory.join("mosquitto.conf");
    let text = format!("listener {port} 0.0.0.0\nallow_anonymous true\nset_tcp_nodelay true\n");
    fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    let mut command = Command::new(program);
    command.arg("-c").arg(file);
    Ok(command)
}

/// Clients that arrive do so from these, as each leaves a port that rests.
pub(super) fn arrive_from() -> impl Iterator<Item = String> {
    (11..=40).map(|host| format!("10.1.0.{host}"))
}

impl Drop for Bed {
    fn drop(&mut self) {
        self.held = None;
        self.balancer = None;
        let pins = self.contender.pins();
        // They outlive the daemon; what is attached goes with the last of its pins.
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
        let arriving: Vec<String> = arrive_from().collect();
        let mut addresses = vec!["10.1.0.1"];
        addresses.extend(arriving.iter().map(String::as_str));
        let uplink = end("uplink", &addresses);
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
        // Each client that has gone keeps its port for a second, or a minute if it had no timestamps.
        clients.sysctl("net.ipv4.ip_local_port_range", "1024 65535")?;
        if contender == Contender::Forward {
            balancer.sysctl("net.ipv4.ip_forward", "1")?;
            clients.ip("route add default via 10.1.0.2")?;
            brokers.ip("route add default via 10.2.0.1")?;
        }
        Ok(hosts)
    }
}

/// Whether the load generator counts what it does by the second.
impl Scenario {
    pub(super) fn has_rate(self) -> bool {
        !matches!(self, Self::Idle | Self::Disturb)
    }
}
