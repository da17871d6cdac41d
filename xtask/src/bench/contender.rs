//! What stands between clients and brokers, each set up as its own documentation advises.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use nix::sys::signal::Signal;

use super::measure::Tools;
use super::scenario::{Cell, Disturbance, Place, Scenario};
use crate::shell;

const CONFIGURATIONS: &str = "xtask/bench-conf";
const AT_BALANCER: &str = "10.1.0.2:1883";
const AT_BROKER: &str = "10.2.0.2:1883";
/// Two of them, so that there is a choice to make.
const REMOTE_BROKERS: [&str; 2] = ["10.2.0.2:1883", "10.2.0.3:1883"];
const LOCAL_BROKERS: [&str; 2] = ["127.0.0.1:1884", "127.0.0.2:1884"];

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Contender {
    /// No balancer: the host in the middle forwards packets.
    Forward,
    SluiceSplice,
    /// Where the broker is on the balancer's host.
    SluiceSockmap,
    SluiceCopy,
    /// One thread.
    HaproxyOne,
    /// As many threads as Sluice.
    Haproxy,
    Nginx,
}

impl Contender {
    /// Those of a case, in the order of each round.
    pub(crate) fn of(cell: &Cell) -> Vec<Self> {
        let all = [
            Self::Forward,
            Self::SluiceSplice,
            Self::SluiceSockmap,
            Self::SluiceCopy,
            Self::HaproxyOne,
            Self::Haproxy,
            Self::Nginx,
        ];
        if cell.over_tls.is_some() {
            return vec![Self::SluiceCopy, Self::Haproxy, Self::Nginx];
        }
        let takes_part = |contender: &Self| match contender {
            // There is nothing to reload or restart.
            Self::Forward => {
                !matches!(cell.disturbance, Disturbance::Reload | Disturbance::Restart)
            }
            Self::SluiceSockmap => cell.place == Place::Local,
            Self::HaproxyOne => matches!(
                cell.scenario,
                Scenario::Rtt | Scenario::Bulk | Scenario::Connect | Scenario::Local
            ),
            Self::SluiceSplice | Self::SluiceCopy | Self::Haproxy | Self::Nginx => true,
        };
        all.into_iter().filter(takes_part).collect()
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::SluiceSplice => "sluice-splice",
            Self::SluiceSockmap => "sluice-sockmap",
            Self::SluiceCopy => "sluice-copy",
            Self::HaproxyOne => "haproxy-1",
            Self::Haproxy => "haproxy",
            Self::Nginx => "nginx",
        }
    }

    /// Where clients connect.
    pub(super) fn address(self, cell: &Cell) -> &'static str {
        if self == Self::Forward && cell.place == Place::Remote {
            AT_BROKER
        } else {
            AT_BALANCER
        }
    }

    /// The balancer to start, if there is one; its files are in `directory`.
    pub(super) fn command(
        self,
        tools: &Tools,
        cell: &Cell,
        directory: &Path,
    ) -> Result<Option<Command>> {
        let threads = tools.threads.to_string();
        let [broker_1, broker_2] = match cell.place {
            Place::Remote => REMOTE_BROKERS,
            Place::Local => LOCAL_BROKERS,
        };
        // A proxy needs two files for each connection, and some of its own.
        let files = tools.files.to_string();
        let connections = (tools.files.saturating_sub(100) / 2).to_string();
        let [encryption, certificates] = self.encryption(tools, cell);
        let common = [
            ("ENCRYPTION", &*encryption),
            ("CERTIFICATES", &*certificates),
            ("BROKER_1", broker_1),
            ("BROKER_2", broker_2),
            ("CONNECTIONS", &*connections),
            ("FILES", &*files),
        ];
        let configure = |template, replace: &[(&str, &str)]| {
            configure(template, &[replace, &common].concat(), directory)
        };
        let within = directory.display().to_string();
        let command = match self {
            Self::Forward => return Ok(None),
            Self::SluiceSplice | Self::SluiceSockmap | Self::SluiceCopy => {
                let datapath = if self == Self::SluiceCopy {
                    "copy"
                } else if self == Self::SluiceSockmap {
                    "sockmap"
                } else {
                    "auto"
                };
                let pins = self.pins().display().to_string();
                let file = configure(
                    "sluice.toml",
                    &[
                        ("THREADS", &threads),
                        ("DIRECTORY", &within),
                        ("PINS", &pins),
                        ("DATAPATH", datapath),
                    ],
                )?;
                let mut command = Command::new(&tools.sluice);
                // What is pinned outlives it, as it does at a restart of the service.
                command.args(["run", "-c"]).arg(file);
                command
            }
            Self::HaproxyOne => haproxy(&configure("haproxy.cfg", &[("THREADS", "1")])?)?,
            Self::Haproxy => haproxy(&configure("haproxy.cfg", &[("THREADS", &threads)])?)?,
            Self::Nginx => {
                let replace = [("THREADS", &*threads), ("DIRECTORY", &*within)];
                let file = configure("nginx.conf", &replace)?;
                let mut command = Command::new(program("nginx")?);
                command.arg("-p").arg(directory).arg("-c").arg(file);
                command
            }
        };
        Ok(Some(command))
    }

    /// How each says that TLS ends here: two parts of its configuration.
    fn encryption(self, tools: &Tools, cell: &Cell) -> [String; 2] {
        if cell.over_tls.is_none() {
            return [String::new(), String::new()];
        }
        let file = |name| tools.certificates.join(name).display().to_string();
        let [chain, key, both] = ["server.pem", "server.key", "both.pem"].map(file);
        match self {
            Self::Forward | Self::SluiceSplice | Self::SluiceSockmap | Self::SluiceCopy => {
                let table = format!("tls = {{ certificate = {chain:?}, key = {key:?} }}");
                [table, String::new()]
            }
            Self::HaproxyOne | Self::Haproxy => [format!("ssl crt {both}"), String::new()],
            Self::Nginx => [
                "ssl".to_owned(),
                format!(
                    "ssl_protocols TLSv1.2 TLSv1.3; ssl_session_cache shared:tls:10m; \
                     ssl_certificate {chain}; ssl_certificate_key {key};"
                ),
            ],
        }
    }

    /// What makes it read its configuration again.
    pub(super) fn reload_signal(self) -> Signal {
        if matches!(self, Self::HaproxyOne | Self::Haproxy) {
            Signal::SIGUSR2
        } else {
            Signal::SIGHUP
        }
    }

    /// What only this process pins.
    pub(super) fn pins(self) -> PathBuf {
        let name = format!("{}-bench-{}", self.name(), std::process::id());
        Path::new("/sys/fs/bpf").join(name)
    }
}

fn haproxy(file: &Path) -> Result<Command> {
    let mut command = Command::new(program("haproxy")?);
    // A master with its worker, in the foreground: the master reloads.
    command.args(["-W", "-db", "-f"]).arg(file);
    Ok(command)
}

fn program(name: &str) -> Result<PathBuf> {
    shell::find(name).with_context(|| format!("{name} is not installed"))
}

/// Writes a configuration with this run's values for the words in capitals.
fn configure(template: &str, replace: &[(&str, &str)], directory: &Path) -> Result<PathBuf> {
    let from = shell::root().join(CONFIGURATIONS).join(template);
    let mut text =
        fs::read_to_string(&from).with_context(|| format!("cannot read {}", from.display()))?;
    // Comments name the words, too.
    text = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| format!("{line}\n"))
        .collect();
    for (word, value) in replace {
        text = text.replace(word, value);
    }
    let to = directory.join(template);
    fs::write(&to, text).with_context(|| format!("cannot write {}", to.display()))?;
    Ok(to)
}

impl fmt::Display for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
