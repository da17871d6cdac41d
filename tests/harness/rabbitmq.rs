//! A real broker with pages about itself: RabbitMQ with its plug-ins for MQTT and management.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::ports;
use crate::process::{self, Process};
use crate::wait;

/// Debian's command of this name becomes another user, who may not write where tests do.
const PROGRAM: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";

/// A running RabbitMQ, which lets anybody publish; killed when dropped.
#[derive(Debug)]
pub struct RabbitMq {
    pub address: SocketAddr,
    pub management: SocketAddr,
    server: Process,
    /// Where Erlang's nodes find each other; without ours, it would leave one behind.
    _names: Process,
    _directory: TempDir,
}

impl RabbitMq {
    /// The user that it has from the start, and the password.
    pub const USER: [&str; 2] = ["guest", "guest"];

    /// Starts one on 127.0.0.1 and waits until it serves, which takes about ten seconds.
    ///
    /// # Errors
    ///
    /// A reason to skip.
    pub fn start() -> Result<Self, String> {
        Self::start_with("")
    }

    /// The same with more lines in its configuration.
    ///
    /// # Errors
    ///
    /// A reason to skip.
    pub fn start_with(lines: &str) -> Result<Self, String> {
        process::installed("rabbitmq-server")?;
        process::installed("epmd")?;
        let directory = TempDir::with_prefix("sluice-rabbitmq-").expect("there is room");
        let [address, management, names, nodes] =
            [(); 4].map(|()| SocketAddr::new(Ipv4Addr::LOCALHOST.into(), ports::free()));
        let path = directory.path();
        let write = |name, text: &str| fs::write(path.join(name), text).expect("there is room");
        write("enabled_plugins", "[rabbitmq_mqtt,rabbitmq_management].\n");
        write(
            "rabbitmq.conf",
            &format!(
                "listeners.tcp = none\nlog.file = false\nlog.console = true\n\
                 mqtt.allow_anonymous = true\nmqtt.listeners.tcp.1 = {address}\n\
                 management.tcp.ip = {}\nmanagement.tcp.port = {}\n{lines}",
                management.ip(),
                management.port()
            ),
        );
        let port = names.port().to_string();
        let mut epmd = Command::new("epmd");
        epmd.args(["-address", "127.0.0.1", "-port", &port]);
        // It complains of everyone who only looks whether it is there.
        let names_of_nodes = Process::start(epmd.stdin(Stdio::null()).stderr(Stdio::null()));
        wait::until("nodes can be found", || TcpStream::connect(names).is_ok());

        let rabbit = Self {
            address,
            management,
            server: Self::run(path, &port, nodes.port()),
            _names: names_of_nodes,
            _directory: directory,
        };
        let serves = |address| TcpStream::connect(address).is_ok();
        wait::until("RabbitMQ serves", || {
            serves(rabbit.address) && serves(rabbit.management)
        });
        Ok(rabbit)
    }

    fn run(directory: &Path, names: &str, nodes: u16) -> Process {
        let is_packaged = Path::new(PROGRAM).exists();
        let program = if is_packaged {
            PROGRAM
        } else {
            "rabbitmq-server"
        };
        let log = File::create(directory.join("log")).expect("there is room");
        let mut command = Command::new(program);
        command
            .current_dir(directory)
            .env("HOME", directory)
            .env("RABBITMQ_NODENAME", format!("sluice{nodes}@localhost"))
            .env("RABBITMQ_DIST_PORT", nodes.to_string())
            .env("ERL_EPMD_PORT", names)
            .env("RABBITMQ_CONFIG_FILE", directory.join("rabbitmq.conf"))
            .env(
                "RABBITMQ_ENABLED_PLUGINS_FILE",
                directory.join("enabled_plugins"),
            )
            .env("RABBITMQ_MNESIA_BASE", directory.join("data"))
            .env("RABBITMQ_LOG_BASE", directory)
            .env("RABBITMQ_PID_FILE", directory.join("pid"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("descriptors are left"))
            .stderr(log)
            // It is a shell with an Erlang in it, and both have to end.
            .process_group(0);
        Process::start(&mut command)
    }

    /// A page of its management, with the head of HTTP.
    pub fn page(&self, path: &str) -> String {
        // "guest:guest" (RFC 7617).
        let request = format!(
            "GET {path} HTTP/1.0\r\nHost: rabbit\r\nAuthorization: Basic Z3Vlc3Q6Z3Vlc3Q=\r\n\r\n"
        );
        let mut stream = TcpStream::connect(self.management).expect("it serves");
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut page = String::new();
        stream.read_to_string(&mut page).expect("it answers");
        page
    }

    /// Ends it with SIGKILL.
    pub fn kill(&mut self) {
        self.server.signal_group(Signal::SIGKILL);
        self.server.end();
    }
}

impl Drop for RabbitMq {
    fn drop(&mut self) {
        if self.server.ended().is_none() {
            self.kill();
        }
    }
}
