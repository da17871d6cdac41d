//! What stands between clients and brokers, each set up as its own documentation advises.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::measure::Tools;
use crate::shell;

const CONFIGURATIONS: &str = "xtask/bench-conf";
const AT_BALANCER: &str = "10.1.0.2:1883";
const AT_BROKER: &str = "10.2.0.2:1883";

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Contender {
    /// No balancer: the host in the middle forwards packets.
    Forward,
    SluiceSplice,
    SluiceCopy,
    /// One thread.
    HaproxyOne,
    /// As many threads as Sluice.
    Haproxy,
    Nginx,
}

impl Contender {
    /// In the order of each round.
    pub(crate) const ALL: [Self; 6] = [
        Self::Forward,
        Self::SluiceSplice,
        Self::SluiceCopy,
        Self::HaproxyOne,
        Self::Haproxy,
        Self::Nginx,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::SluiceSplice => "sluice-splice",
            Self::SluiceCopy => "sluice-copy",
            Self::HaproxyOne => "haproxy-1",
            Self::Haproxy => "haproxy",
            Self::Nginx => "nginx",
        }
    }

    /// Where clients connect.
    pub(super) fn address(self) -> &'static str {
        if self == Self::Forward {
            AT_BROKER
        } else {
            AT_BALANCER
        }
    }

    /// The balancer to start, if there is one; its files are in `directory`.
    pub(super) fn command(self, tools: &Tools, directory: &Path) -> Result<Option<Command>> {
        let threads = tools.threads.to_string();
        let configure =
            |template, replace: &[(&str, &str)]| configure(template, replace, directory);
        let within = directory.display().to_string();
        let command = match self {
            Self::Forward => return Ok(None),
            Self::SluiceSplice | Self::SluiceCopy => {
                let datapath = if self == Self::SluiceCopy {
                    "copy"
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
                command.args(["run", "--detach-on-exit", "-c"]).arg(file);
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

    /// What only this process pins.
    pub(super) fn pins(self) -> PathBuf {
        let name = format!("{}-bench-{}", self.name(), std::process::id());
        Path::new("/sys/fs/bpf").join(name)
    }
}

fn haproxy(file: &Path) -> Result<Command> {
    let mut command = Command::new(program("haproxy")?);
    // In the foreground.
    command.args(["-db", "-f"]).arg(file);
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
