//! A real broker: mosquitto, one process each.

use std::fmt::Write as _;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::client::Client;
use crate::ports;
use crate::process::{self, Process};
use crate::wait;
use crate::wire::{self, Connect, Version};

/// The topic under which each broker keeps its own name.
pub const NAME_TOPIC: &str = "broker";

/// A running mosquitto that knows its name; killed when dropped.
#[derive(Debug)]
pub struct Mosquitto {
    pub address: SocketAddr,
    pub name: String,
    _process: Process,
    _directory: TempDir,
}

impl Mosquitto {
    /// Starts one on 127.0.0.1.
    ///
    /// # Errors
    ///
    /// A reason to skip.
    pub fn start(name: &str) -> Result<Self, String> {
        Self::start_at(name, Ipv4Addr::LOCALHOST.into())
    }

    /// Starts one and waits until it serves.
    ///
    /// # Errors
    ///
    /// A reason to skip.
    pub fn start_at(name: &str, ip: IpAddr) -> Result<Self, String> {
        process::installed("mosquitto")?;
        let directory = TempDir::with_prefix("sluice-mosquitto-").expect("there is room");
        let address = SocketAddr::new(ip, ports::free());
        let config = directory.path().join("mosquitto.conf");
        fs::write(&config, self::config(address, &directory)).expect("there is room");

        let mut command = Command::new("mosquitto");
        command
            .arg("-c")
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let process = Process::start(command.stderr(Stdio::null()));
        wait::until("mosquitto accepts", || TcpStream::connect(address).is_ok());
        let mut client = Client::open(address, &Connect::new(Version::V3_1_1, "harness"));
        client.send(&wire::publish_retained(
            Version::V3_1_1,
            NAME_TOPIC,
            name.as_bytes(),
        ));
        // It answers in order: once it confirms this it has the name.
        client.send(&wire::subscribe(Version::V3_1_1, "nothing"));
        assert_eq!(client.packet()[0], wire::SUBACK);
        Ok(Self {
            address,
            name: name.to_owned(),
            _process: process,
            _directory: directory,
        })
    }
}

fn config(address: SocketAddr, directory: &TempDir) -> String {
    let mut config = String::new();
    let path = directory.path().display();
    writeln!(config, "listener {} {}", address.port(), address.ip()).expect("a string grows");
    config.push_str("allow_anonymous true\nmax_connections -1\npersistence true\n");
    writeln!(config, "persistence_location {path}/").expect("a string grows");
    if process::root().is_ok() {
        // It would become a user that may not write there.
        config.push_str("user root\n");
    }
    config
}
