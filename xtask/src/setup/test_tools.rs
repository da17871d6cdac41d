//! What the tests need besides a compiler: brokers, clients, network tools.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::packages::{self, Manager};
use crate::shell;

/// A program, and the packages it comes in for apt, dnf, pacman and apk.
struct Tool {
    program: &'static str,
    packages: [&'static str; 4],
}

const TOOLS: [Tool; 8] = [
    MOSQUITTO,
    MOSQUITTO_PUB,
    HAPROXY,
    Tool {
        program: "bpftool",
        packages: ["bpftool", "bpftool", "bpf", "bpftool"],
    },
    Tool {
        program: "ip",
        packages: ["iproute2", "iproute", "iproute2", "iproute2"],
    },
    Tool {
        program: "iptables",
        packages: ["iptables", "iptables-nft", "iptables", "iptables"],
    },
    Tool {
        program: "tcpdump",
        packages: ["tcpdump"; 4],
    },
    PYTHON,
];

/// Installed on its own: not every distribution has it, and the others must not fail with it.
const RABBITMQ: Tool = Tool {
    program: "rabbitmq-server",
    packages: [
        "rabbitmq-server",
        "rabbitmq-server",
        "rabbitmq",
        "rabbitmq-server",
    ],
};

const MOSQUITTO: Tool = Tool {
    program: "mosquitto",
    packages: ["mosquitto"; 4],
};

const MOSQUITTO_PUB: Tool = Tool {
    program: "mosquitto_pub",
    packages: [
        "mosquitto-clients",
        "mosquitto",
        "mosquitto",
        "mosquitto-clients",
    ],
};

const HAPROXY: Tool = Tool {
    program: "haproxy",
    packages: ["haproxy"; 4],
};

const PYTHON: Tool = Tool {
    program: "python3",
    packages: ["python3-venv", "python3", "python", "python3"],
};

const PEERS: [Tool; 4] = [
    MOSQUITTO,
    HAPROXY,
    Tool {
        // Its module for TCP is a package of its own.
        program: "nginx",
        packages: [
            "libnginx-mod-stream",
            "nginx-mod-stream",
            "nginx-mod-stream",
            "nginx-mod-stream",
        ],
    },
    Tool {
        program: "rsvg-convert",
        packages: ["librsvg2-bin", "librsvg2-tools", "librsvg", "rsvg-convert"],
    },
];

/// The client library that the tests speak MQTT with.
const PAHO: &str = "paho-mqtt>=2,<3";

/// Installs what is missing and returns a sentence for each thing that stays missing.
pub(super) fn install() -> Vec<String> {
    [install_programs(), install_rabbitmq(), install_paho()]
        .into_iter()
        .filter_map(Result::err)
        .map(|reason| format!("{reason:#}"))
        .collect()
}

/// Installs the broker of the demo, where root may.
pub(super) fn install_mosquitto() -> Result<()> {
    install_tools(&[&MOSQUITTO, &MOSQUITTO_PUB])
}

/// Installs what Sluice is measured beside, and what makes a PNG of the picture.
pub(super) fn install_peers() -> Result<()> {
    install_tools(&PEERS.each_ref())
}

/// What a person types to get `mosquitto_pub` and `mosquitto_sub`.
pub(super) fn line_for_clients() -> String {
    Manager::here().map_or_else(
        || "install mosquitto's clients".to_owned(),
        |manager| manager.line(MOSQUITTO_PUB.package(manager)),
    )
}

fn install_programs() -> Result<()> {
    install_tools(&TOOLS.each_ref())
}

fn install_rabbitmq() -> Result<()> {
    install_tools(&[&RABBITMQ])
}

fn install_tools(tools: &[&Tool]) -> Result<()> {
    let missing: Vec<_> = tools
        .iter()
        .filter(|tool| shell::find(tool.program).is_none())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let programs: Vec<_> = missing.iter().map(|tool| tool.program).collect();
    let programs = programs.join(", ");
    let manager = Manager::here()
        .with_context(|| format!("please install {programs}: no package manager known here"))?;
    let wanted: Vec<_> = missing.iter().map(|tool| tool.package(manager)).collect();

    if !shell::is_root() {
        bail!("no {programs}: {}", manager.line(&wanted.join(" ")));
    }
    packages::install(&wanted, "about 20 s").with_context(|| format!("no {programs}"))
}

impl Tool {
    fn package(&self, manager: Manager) -> &'static str {
        self.packages[manager.column()]
    }
}

/// Makes a virtual environment of Python with paho-mqtt in `target/tools/venv`.
fn install_paho() -> Result<()> {
    let venv = shell::tools().join("venv");
    let python = venv.join("bin/python3");
    if has_paho(&python) {
        return Ok(());
    }

    shell::say("installing paho-mqtt into target/tools/venv (about 10 s)");
    let log = shell::tools().join("venv.log");
    let create = |python: &str| {
        let mut create = Command::new(python);
        shell::run_logged(create.args(["-m", "venv", "--clear"]).arg(&venv), &log)
    };
    create("python3").or_else(|reason| {
        // Debian's python3 makes no environment without a package of its own.
        if !shell::is_root() || !packages::are_for_apt() {
            return Err(reason);
        }
        packages::install(&["python3-venv"], "about 10 s")?;
        create("/usr/bin/python3")
    })?;
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "install", "--quiet", PAHO]);
    shell::run_logged(&mut pip, &log).with_context(|| format!("no {PAHO} for Python"))
}

fn has_paho(python: &Path) -> bool {
    let version = "import importlib.metadata as m; print(m.version('paho-mqtt'))";
    shell::first_line(Command::new(python).args(["-c", version]))
        .is_some_and(|version| version.starts_with("2."))
}
