//! A real broker: mosquitto, one process each.

use std::fmt::Write as _;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
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
    process: Process,
    directory: TempDir,
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
        let address = SocketAddr::new(ip, ports::free());
        let directory = TempDir::with_prefix("sluice-mosquitto-").expect("there is room");
        let broker = Self::start_as(name, address, directory, "allow_anonymous true")?;
        let mut client = Client::open(address, &Connect::new(Version::V3_1_1, "harness"));
        client.send(&wire::publish_retained(
            Version::V3_1_1,
            NAME_TOPIC,
            name.as_bytes(),
        ));
        // It answers in order: once it confirms this it has the name.
        client.send(&wire::subscribe(Version::V3_1_1, "nothing"));
        assert_eq!(client.packet()[0], wire::SUBACK);
        Ok(broker)
    }

    /// Starts one that only this user may use.
    ///
    /// # Errors
    ///
    /// A reason to skip.
    pub fn start_locked(name: &str, user: &str, password: &str) -> Result<Self, String> {
        process::installed("mosquitto_passwd")?;
        let directory = TempDir::with_prefix("sluice-mosquitto-").expect("there is room");
        let users = directory.path().join("users");
        let mut command = Command::new("mosquitto_passwd");
        let made = command
            .args(["-b", "-c"])
            .arg(&users)
            .args([user, password]);
        let made = made.stderr(Stdio::null()).status();
        assert!(
            made.is_ok_and(|status| status.success()),
            "it writes a file"
        );
        let address = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), ports::free());
        let lines = format!("allow_anonymous false\npassword_file {}", users.display());
        Self::start_as(name, address, directory, &lines)
    }

    /// Starts one with lines that say who may use it.
    fn start_as(
        name: &str,
        address: SocketAddr,
        directory: TempDir,
        access: &str,
    ) -> Result<Self, String> {
        process::installed("mosquitto")?;
        let config = directory.path().join("mosquitto.conf");
        fs::write(&config, self::config(address, access, &directory)).expect("there is room");
        let broker = Self {
            address,
            name: name.to_owned(),
            process: Self::run(&directory),
            directory,
        };
        broker.until_serving();
        Ok(broker)
    }

    fn run(directory: &TempDir) -> Process {
        let mut command = Command::new("mosquitto");
        command
            .arg("-c")
            .arg(directory.path().join("mosquitto.conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        Process::start(command.stderr(Stdio::null()))
    }

    fn until_serving(&self) {
        wait::until("mosquitto accepts", || {
            TcpStream::connect(self.address).is_ok()
        });
    }

    /// Ends it in good order: it stores the sessions of its clients.
    pub fn stop(&mut self) {
        self.process.signal(Signal::SIGTERM);
        self.process.end();
    }

    /// Ends it with SIGKILL.
    pub fn kill(&mut self) {
        self.process.signal(Signal::SIGKILL);
        self.process.end();
    }

    /// Starts it again where it was.
    pub fn restart(&mut self) {
        self.process = Self::run(&self.directory);
        self.until_serving();
    }
}

fn config(address: SocketAddr, access: &str, directory: &TempDir) -> String {
    let mut config = String::new();
    let path = directory.path().display();
    writeln!(config, "listener {} {}", address.port(), address.ip()).expect("a string grows");
    config.push_str("max_connections -1\npersistence true\n");
    writeln!(config, "{access}").expect("a string grows");
    writeln!(config, "persistence_location {path}/").expect("a string grows");
    if process::root().is_ok() {
        // It would become a user that may not write there.
        config.push_str("user root\n");
    }
    config
}
