//! Three brokers, the daemon before them, and what to type next.

mod brokers;

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use self::brokers::Cluster;
pub(crate) use self::brokers::Wish;
use crate::process::{self, Process};
use crate::{setup, shell};

const CONTROL: &str = "target/demo/control.sock";
/// Where the demo pins, beside a Sluice that may be serving on this host.
const PINS: &str = "/sys/fs/bpf/sluice-demo";
const CONFIG: &str = "target/demo/sluice.toml";

/// How many ticks the children have to be ready: half a minute.
const TICKS_TO_BE_READY: u32 = 300;

/// Runs the demo until Ctrl-C, SIGTERM or the end of a child.
pub(crate) fn run(sluice: &Path, listeners: &[SocketAddr], wish: Wish) -> Result<()> {
    let directory = shell::root().join("target/demo");
    fs::create_dir_all(&directory)
        .with_context(|| format!("cannot create {}", directory.display()))?;
    let mut cluster = Cluster::prepare(wish, &directory)?;
    write_config(listeners, &cluster.addresses)?;
    process::watch_signals()?;

    // Values are dropped last taken first: the daemon ends before the brokers do.
    let log = directory.join("brokers.log");
    let mut brokers = Process::start("the broker process", &mut cluster.command, log)?;
    let answer = || {
        cluster
            .addresses
            .iter()
            .all(|at| TcpStream::connect(at).is_ok())
    };
    if !come_up(&mut [&mut brokers], answer)? {
        return Ok(());
    }
    let mut command = daemon_command(sluice);
    let mut daemon = Process::start("sluice", &mut command, directory.join("sluice.log"))?;
    if !come_up(&mut [&mut brokers, &mut daemon], || {
        status(sluice).is_some()
    })? {
        return Ok(());
    }

    shell::show(&welcome(sluice, listeners, &cluster));
    while !process::tick() {
        brokers.check()?;
        daemon.check()?;
    }
    shell::say("ending the demo");
    Ok(())
}

/// The loopback addresses to listen on; both families where the machine has both.
pub(crate) fn free_listeners(port: u16) -> Result<Vec<SocketAddr>> {
    let loopbacks = [
        IpAddr::from(Ipv4Addr::LOCALHOST),
        Ipv6Addr::LOCALHOST.into(),
    ];
    let mut free = Vec::new();
    for ip in loopbacks {
        let address = SocketAddr::new(ip, port);
        match TcpListener::bind(address) {
            Ok(_) => free.push(address),
            Err(reason) if reason.kind() == io::ErrorKind::AddrInUse => {
                let other = if port == 2883 { 3883 } else { 2883 };
                bail!(
                    "{address} is taken by another program: \
                     stop it, or choose a port: cargo xtask run --port {other}"
                );
            }
            Err(_) if ip.is_ipv6() => shell::say("no IPv6 on this machine's loopback"),
            Err(reason) => return Err(reason).with_context(|| format!("cannot use {address}")),
        }
    }
    Ok(free)
}

/// Waits until `is_ready`; false when a signal came first.
fn come_up(children: &mut [&mut Process], is_ready: impl Fn() -> bool) -> Result<bool> {
    for _ in 0..TICKS_TO_BE_READY {
        if is_ready() {
            return Ok(true);
        }
        for child in &mut *children {
            child.check()?;
        }
        if process::tick() {
            return Ok(false);
        }
    }
    bail!("the demo is not ready after half a minute; see the logs in target/demo");
}

fn write_config(listeners: &[SocketAddr], brokers: &[SocketAddr]) -> Result<()> {
    let bind: Vec<_> = listeners.iter().map(|at| format!("\"{at}\"")).collect();
    let control = shell::root().join(CONTROL);
    let mut text = format!(
        "# Written by `cargo xtask run`.\n\
         [daemon]\ncontrol = \"{}\"\n\n\
         [kernel]\npins = \"{PINS}\"\ninterfaces = [\"lo\"]\n\n\
         [[listeners]]\nname = \"mqtt\"\nbind = [{}]\npool = \"brokers\"\n\n\
         [[pools]]\nname = \"brokers\"\n",
        control.display(),
        bind.join(", ")
    );
    for (number, address) in (1..).zip(brokers) {
        text +=
            &format!("\n[[pools.backends]]\nname = \"broker-{number}\"\naddress = \"{address}\"\n");
    }
    fs::write(shell::root().join(CONFIG), text).with_context(|| format!("cannot write {CONFIG}"))
}

fn daemon_command(sluice: &Path) -> Command {
    let mut command = Command::new(sluice);
    command
        .current_dir(shell::root())
        .args(["run", "--config", CONFIG, "--detach-on-exit"]);
    command
}

/// What the daemon says about itself, once it answers.
fn status(sluice: &Path) -> Option<String> {
    let mut status = Command::new(sluice);
    status
        .current_dir(shell::root())
        .args(["status", "--control", CONTROL]);
    shell::all_lines(&mut status)
}

fn welcome(sluice: &Path, listeners: &[SocketAddr], cluster: &Cluster) -> String {
    let listening = listeners.iter().map(SocketAddr::to_string);
    let brokers = (1..)
        .zip(cluster.addresses)
        .map(|(number, address)| format!("broker-{number} {address}"));
    let port = listeners.first().map_or(1883, SocketAddr::port);
    let program = shell::typed(sluice);

    format!(
        "\nSluice listens on {}.\n\
         Behind it: {}; {}.\n\n\
         {}\n\
         Try in other terminals{}:\n  \
           mosquitto_sub -h 127.0.0.1 -p {port} -i alice -t 'demo/#' -v\n  \
           mosquitto_pub -h 127.0.0.1 -p {port} -i bob -t demo/greeting -m 'hello through sluice'\n  \
           {program} status --control {CONTROL}\n\n\
         Ctrl-C ends the demo. Logs and configuration: target/demo/",
        listening.collect::<Vec<_>>().join(" and "),
        brokers.collect::<Vec<_>>().join(", "),
        cluster.kind,
        status(sluice).unwrap_or_default(),
        hint_for_clients(),
    )
}

fn hint_for_clients() -> String {
    if shell::find("mosquitto_pub").is_some() {
        return String::new();
    }
    format!(
        " (the clients are not installed: {})",
        setup::line_for_clients()
    )
}
