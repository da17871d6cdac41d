//! A real receiver of the PROXY protocol: HAProxy in front of a broker.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::process::{self, Process};
use crate::wait;

/// A running HAProxy that takes connections with a header only; killed when dropped.
#[derive(Debug)]
pub struct Haproxy {
    _process: Process,
    log: PathBuf,
    _directory: TempDir,
}

impl Haproxy {
    /// Starts one at an address, in front of a broker, and waits until it serves.
    ///
    /// # Errors
    ///
    /// A reason to skip.
    pub fn start_at(address: SocketAddr, broker: SocketAddr) -> Result<Self, String> {
        process::installed("haproxy")?;
        let directory = TempDir::with_prefix("sluice-haproxy-").expect("there is room");
        let file = directory.path().join("haproxy.cfg");
        // It notes where a client is said to come from, and where it is said to have gone to.
        let text = format!(
            "global\n  log stdout format raw local0\n\
             defaults\n  mode tcp\n  log global\n  log-format \"%ci:%cp %fi:%fp\"\n\
             \x20 timeout connect 10s\n  timeout client 60s\n  timeout server 60s\n\
             listen mqtt\n  bind {address} accept-proxy\n  server broker {broker}\n"
        );
        fs::write(&file, text).expect("there is room");
        let log = directory.path().join("log");
        let mut command = Command::new("haproxy");
        command
            .arg("-db")
            .arg("-f")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(File::create(&log).expect("there is room"))
            .stderr(Stdio::null());
        let haproxy = Self {
            _process: Process::start(&mut command),
            log,
            _directory: directory,
        };
        wait::until("HAProxy serves", || TcpStream::connect(address).is_ok());
        Ok(haproxy)
    }

    /// Ends of connections that are over, one in a line: the client's, and where it connected to.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).expect("it was made")
    }
}
