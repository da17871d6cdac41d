//! The load generator of `cargo xtask bench`: MQTT clients in closed loops, and what they saw.
//!
//! It prints one line of JSON and ends by itself after the time it was told.

#![expect(
    clippy::disallowed_types,
    reason = "it measures real time and has no runtime whose clock could be paused"
)]

mod arrive;
mod ask;
mod certify;
mod cpu;
mod fan;
mod histogram;
mod hold;
mod memory;
mod pace;
mod packet;
mod stage;
mod wire;

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::ScopedJoinHandle;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::IpBindAddressNoPort;
use rustls::ClientConfig;
use socket2::{Domain, Socket, Type};
use wire::Wire;

/// For a connection and for CONNACK.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Parser)]
struct Options {
    #[command(subcommand)]
    load: Load,
}

#[derive(Subcommand)]
enum Load {
    /// Connected clients send messages and wait for the answers
    Ask {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        ask: ask::Options,
    },
    /// Clients connect, wait for CONNACK, and go
    Arrive {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        arrive: arrive::Options,
    },
    /// Makes certificates for a balancer with TLS
    Certify {
        #[command(flatten)]
        certify: certify::Options,
    },
    /// One client publishes, all others subscribe; for a real broker
    Fan {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        fan: fan::Options,
    },
    /// Clients connect and say nothing
    Hold {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        hold: hold::Options,
    },
    /// Connected clients send messages at a rate
    Pace {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        pace: pace::Options,
    },
}

#[derive(Args)]
struct Common {
    /// Where clients connect
    #[arg(long)]
    to: SocketAddr,
    #[arg(long)]
    warm_up_ms: u64,
    #[arg(long)]
    measure_ms: u64,
    /// Connect by TLS, and believe certificates that this one has signed
    #[arg(long)]
    authority: Option<PathBuf>,
}

impl Common {
    fn warm_up(&self) -> Duration {
        Duration::from_millis(self.warm_up_ms)
    }

    fn measure(&self) -> Duration {
        Duration::from_millis(self.measure_ms)
    }
}

#[expect(clippy::print_stdout, reason = "the runner reads it")]
fn main() -> io::Result<()> {
    let line = match Options::parse().load {
        Load::Ask { common, ask } => ask::run(&common, &ask)?,
        Load::Arrive { common, arrive } => arrive::run(&common, &arrive)?,
        Load::Certify { certify } => return certify::run(&certify),
        Load::Fan { common, fan } => fan::run(&common, &fan)?,
        Load::Hold { common, hold } => {
            let held = hold::run(&common, &hold)?;
            println!("{}", held.report);
            std::thread::sleep(held.stay);
            drop(held.clients);
            return Ok(());
        }
        Load::Pace { common, pace } => pace::run(&common, &pace)?,
    };
    println!("{line}");
    Ok(())
}

/// Connects and waits until the broker has accepted.
fn introduce(address: SocketAddr, client_id: &str) -> io::Result<TcpStream> {
    let mut stream = dial(None, address)?;
    greet(&mut stream, client_id)?;
    Ok(stream)
}

/// The same by TLS where that is configured, and from an address of this host where one is named.
fn introduce_by(
    config: Option<&Arc<ClientConfig>>,
    source: Option<IpAddr>,
    address: SocketAddr,
    client_id: &str,
) -> io::Result<Wire> {
    let mut wire = Wire::over(dial(source, address)?, address.ip(), config)?;
    greet(&mut wire, client_id)?;
    Ok(wire)
}

fn dial(source: Option<IpAddr>, address: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if let Some(source) = source {
        // The port is to be chosen when the other end is known.
        setsockopt(&socket, IpBindAddressNoPort, &true)?;
        socket.bind(&SocketAddr::new(source, 0).into())?;
    }
    socket.connect_timeout(&address.into(), PATIENCE)?;
    let stream = TcpStream::from(socket);
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn greet(stream: &mut (impl Read + Write), client_id: &str) -> io::Result<()> {
    stream.write_all(&packet::connect(client_id))?;
    let mut answer = [0; packet::CONNACK.len()];
    stream.read_exact(&mut answer)?;
    if answer != packet::CONNACK {
        return Err(io::Error::other(format!(
            "{client_id}: answered {answer:?}"
        )));
    }
    Ok(())
}

/// Subscribes and waits until the broker has agreed.
fn subscribe(stream: &mut (impl Read + Write), topic: &[u8]) -> io::Result<()> {
    stream.write_all(&packet::subscribe(topic))?;
    let mut answer = [0; packet::SUBACK.len()];
    stream.read_exact(&mut answer)?;
    if answer != packet::SUBACK {
        return Err(io::Error::other(format!("SUBSCRIBE: answered {answer:?}")));
    }
    Ok(())
}

/// Waits for the end of a thread.
fn join<T>(worker: ScopedJoinHandle<'_, io::Result<T>>) -> io::Result<T> {
    worker
        .join()
        .unwrap_or_else(|_| Err(io::Error::other("a thread of the load generator panicked")))
}
