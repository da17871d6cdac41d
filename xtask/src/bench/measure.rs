//! One round of load on one contender, and the figures it gives.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::bed::arrive_from;
use super::scenario::{Broker, Cell, OverTls, Scenario};
use crate::{run, shell};

/// Messages of each watched connection in a second.
const PACE: usize = 20;
/// New clients in a second, and how many at a time at most.
const ARRIVALS: usize = 1000;
const ARRIVING: usize = 16;

/// What is measured and what measures, built for release.
pub(crate) struct Tools {
    pub(super) sluice: PathBuf,
    pub(super) load: PathBuf,
    pub(super) broker: PathBuf,
    /// A directory of what the load generator made for TLS.
    pub(super) certificates: PathBuf,
    /// Of each program: one for each CPU.
    pub(super) threads: usize,
    /// That each program may have open.
    pub(super) files: u64,
}

impl Tools {
    pub(super) fn build(files: u64) -> Result<Self> {
        let sluice = run::build()?;
        shell::say("building the load generator and the broker stand-in");
        let mut cargo = shell::cargo();
        cargo
            .args(["build", "--release", "--package", "lb-tests", "--bins"])
            .arg("--target-dir")
            .arg(shell::target());
        shell::run(&mut cargo)?;
        let directory = shell::target().join("release");
        let load = directory.join("bench-load");
        Ok(Self {
            sluice,
            certificates: certify(&load)?,
            load,
            broker: directory.join("bench-broker"),
            threads: thread::available_parallelism()?.get(),
            files,
        })
    }
}

/// Certificates of this run, for the address of the balancers.
fn certify(load: &Path) -> Result<PathBuf> {
    let directory = shell::target().join("bench-run/certificates");
    fs::create_dir_all(&directory)
        .with_context(|| format!("cannot create {}", directory.display()))?;
    let mut command = Command::new(load);
    command.args(["certify", "--address=10.1.0.2", "--directory"]);
    shell::run(command.arg(&directory))?;
    Ok(directory)
}

/// What the load generator saw in one round.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Figures {
    /// Messages answered, or connections accepted.
    pub(super) count: u64,
    pub(super) seconds: f64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
    pub(super) p999_us: f64,
    /// Of the whole system.
    pub(super) cpu_seconds: f64,
    /// The part of it that programs outside the benchmark took.
    pub(super) other_cpu_seconds: f64,
    /// What the hypervisor gave to other machines.
    pub(super) stolen_seconds: f64,
    /// Handshakes that a ticket has shortened.
    pub(super) resumed: u64,
    /// Connections without any answer.
    pub(super) silent_connections: usize,
    /// Connections that ended though nobody wanted them to.
    pub(super) lost_connections: usize,
    /// Where connections are idle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) memory: Option<Growth>,
}

/// What became of the memory while connections were made.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Growth {
    pub(super) kernel_bytes: i64,
    pub(super) balancer_bytes: i64,
}

impl Figures {
    pub(super) fn per_second(&self) -> f64 {
        self.count as f64 / self.seconds
    }

    /// CPU time for each, without that of programs outside the benchmark.
    pub(super) fn cpu_us(&self) -> f64 {
        (self.cpu_seconds - self.other_cpu_seconds) * 1e6 / (self.count as f64).max(1.0)
    }
}

/// The load generator, told what to do.
pub(super) fn command(tools: &Tools, cell: &Cell, address: &str, balancer: Option<u32>) -> Command {
    let mut command = Command::new(&tools.load);
    let options = match (cell.scenario, cell.over_tls) {
        (Scenario::Connect, _) | (_, Some(OverTls::Full | OverTls::Resumed)) => {
            arrive(&mut command);
            vec![]
        }
        (Scenario::Idle, _) | (_, Some(OverTls::Idle)) => {
            command.arg("hold");
            command.args(balancer.map(|id| format!("--balancer={id}")));
            vec![("threads", tools.threads)]
        }
        (Scenario::Disturb, _) => {
            command.arg("pace");
            vec![("bytes", cell.bytes), ("per-second", PACE)]
        }
        (Scenario::Fanout, _) => {
            command.arg("fan");
            vec![
                ("bytes", cell.bytes),
                ("depth", cell.depth),
                ("threads", tools.threads),
            ]
        }
        (
            Scenario::Rtt | Scenario::Local | Scenario::Bulk | Scenario::Tls | Scenario::Program,
            _,
        ) => {
            command.arg("ask");
            if cell.broker == Broker::Mosquitto {
                command.arg("--own-topic");
            }
            vec![
                ("bytes", cell.bytes),
                ("depth", cell.depth),
                ("threads", tools.threads),
            ]
        }
    };
    for (name, value) in options {
        command.arg(format!("--{name}={value}"));
    }
    command.arg(format!("--connections={}", cell.connections));
    if cell.over_tls == Some(OverTls::Resumed) {
        command.arg("--tickets");
    }
    if cell.over_tls.is_some() {
        let authority = tools.certificates.join("authority.pem");
        command.arg("--authority").arg(authority);
    }
    for_so_long(&mut command, cell, address);
    command
}

/// Clients that stay, until their process is ended.
pub(super) fn hold(tools: &Tools, connections: usize, address: &str) -> Command {
    let mut command = Command::new(&tools.load);
    command.arg("hold").arg(format!("--to={address}"));
    command.arg(format!("--connections={connections}"));
    command.arg(format!("--threads={}", tools.threads));
    command.args(["--warm-up-ms=0", "--measure-ms=2000", "--stay=600"]);
    command
}

/// New clients, beside those that are watched.
pub(super) fn arrivals(tools: &Tools, cell: &Cell, address: &str) -> Command {
    let mut command = Command::new(&tools.load);
    arrive(&mut command);
    command.arg(format!("--per-second={ARRIVALS}"));
    command.arg(format!("--connections={ARRIVING}"));
    for_so_long(&mut command, cell, address);
    command
}

fn arrive(command: &mut Command) {
    command.arg("arrive");
    command.args(arrive_from().map(|address| format!("--from={address}")));
}

fn for_so_long(command: &mut Command, cell: &Cell, address: &str) {
    command.arg(format!("--to={address}"));
    command.arg(format!("--warm-up-ms={}", cell.warm_up_ms));
    command.arg(format!("--measure-ms={}", cell.measure_ms));
}

/// Reads what the load generator printed.
pub(super) fn read(said: &Path) -> Result<Figures> {
    let text =
        fs::read_to_string(said).with_context(|| format!("cannot read {}", said.display()))?;
    serde_json::from_str(&text).with_context(|| format!("not understood: {text}"))
}

/// Connections that did not take the path that was wanted, by reason, from what `sluice status` says.
pub(super) fn not_by(status: &[u8], path: &str) -> Option<String> {
    let status: Value = serde_json::from_slice(status).unwrap_or_default();
    let Some(choices) = status["choices"].as_array() else {
        return Some("unknown, `sluice status` does not say".to_owned());
    };
    let reasons: Vec<_> = choices
        .iter()
        .filter(|choice| choice["path"] != path && choice["count"] != 0)
        .map(|choice| format!("{} ({})", choice["count"], choice["because"]))
        .collect();
    (!reasons.is_empty()).then(|| reasons.join(", "))
}
