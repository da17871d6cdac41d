//! A running `sluice run`.

use std::fs::File;
use std::net::SocketAddr;
use std::process::{Command, ExitStatus, Output, Stdio};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::binary;
use crate::process::Process;
use crate::setup::Setup;
use crate::wait;

/// The daemon; killed when dropped.
#[derive(Debug)]
pub struct Daemon {
    pub process: Process,
    setup: Setup,
}

impl Daemon {
    pub(crate) fn spawn(setup: &Setup) -> Process {
        let log = File::create(setup.log_path()).expect("there is room");
        let mut command = setup.command();
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        Process::start(&mut command)
    }

    pub(crate) fn start(setup: Setup) -> Self {
        let mut daemon = Self {
            process: Self::spawn(&setup),
            setup,
        };
        wait::until("the daemon serves", || {
            let ended = daemon.process.ended();
            assert!(ended.is_none(), "the daemon ended: {}", daemon.log());
            daemon.show_status(&["--json"]).status.success()
        });
        daemon.process.until_idle();
        daemon
    }

    /// Where clients connect, by IPv4 unless the test says otherwise.
    pub fn address(&self) -> SocketAddr {
        self.setup.addresses()[0]
    }

    /// Where clients connect by IPv6.
    pub fn address_v6(&self) -> SocketAddr {
        let found = self
            .setup
            .addresses()
            .iter()
            .find(|address| address.is_ipv6());
        *found.expect("it listens on IPv6")
    }

    pub fn log(&self) -> String {
        self.setup.log()
    }

    /// Runs a subcommand that talks to this daemon.
    pub fn sluice(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(binary::sluice());
        command
            .args(arguments)
            .arg("--control")
            .arg(self.setup.control());
        command.output().expect("sluice can be run")
    }

    /// The same, which must succeed; what it says.
    pub fn told(&self, arguments: &[&str]) -> String {
        let Output {
            status,
            stdout,
            stderr,
        } = self.sluice(arguments);
        let complaint = String::from_utf8_lossy(&stderr);
        assert!(status.success(), "{arguments:?}: {complaint}");
        String::from_utf8_lossy(&stdout).into_owned()
    }

    /// Runs `sluice status`.
    pub fn show_status(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(binary::sluice());
        command
            .args(["status", "--control"])
            .arg(self.setup.control())
            .args(arguments);
        command.output().expect("sluice can be run")
    }

    /// Has it read its configuration again; what `sluice reload` said.
    ///
    /// # Panics
    ///
    /// It was not taken.
    pub fn reload(&self) -> String {
        let output = self.ask_reload();
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "{}", said(&output.stderr));
        said(&output.stdout)
    }

    /// Runs `sluice reload`.
    pub fn ask_reload(&self) -> Output {
        let mut command = Command::new(binary::sluice());
        command
            .args(["reload", "--control"])
            .arg(self.setup.control());
        command.output().expect("sluice can be run")
    }

    /// What `sluice status --json` tells.
    pub fn status(&self) -> Value {
        let output = self.show_status(&["--json"]);
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        serde_json::from_slice(&output.stdout).expect("it writes JSON")
    }

    /// Sessions open now.
    pub fn connections(&self) -> u64 {
        self.backend_sum("connections")
    }

    /// Adds up a number that every backend has.
    pub fn backend_sum(&self, field: &str) -> u64 {
        let status = self.status();
        let backends = status["backends"].as_array().expect("there is a list");
        backends
            .iter()
            .map(|backend| backend[field].as_u64().expect("it is a number"))
            .sum()
    }

    /// How often a backend was passed over for this reason.
    pub fn passed_over(&self, backend: &str, reason: &str) -> u64 {
        let backend = self.backend(backend);
        let reasons = backend["passed_over"].as_array().expect("there is a list");
        let found = reasons.iter().find(|counted| counted["reason"] == reason);
        found
            .and_then(|found| found["count"].as_u64())
            .expect("this reason is counted")
    }

    /// Waits until a backend is in this state.
    pub fn until_backend_is(&self, name: &str, state: &str) {
        wait::until(&format!("{name} is {state}"), || {
            self.backend(name)["state"] == state
        });
    }

    /// What `sluice status --json` tells of a backend.
    pub fn backend(&self, name: &str) -> Value {
        let status = self.status();
        let backends = status["backends"].as_array().expect("there is a list");
        let found = backends.iter().find(|backend| backend["name"] == name);
        found.expect("it is configured").clone()
    }

    /// How often clients were refused for this reason.
    pub fn refused(&self, reason: &str) -> u64 {
        let status = self.status();
        let refused = status["refused"].as_array().expect("there is a list");
        let found = refused.iter().find(|refused| refused["reason"] == reason);
        found
            .and_then(|found| found["count"].as_u64())
            .expect("this reason is counted")
    }

    /// Adds up the choices of a data path for this reason.
    pub fn chosen(&self, because: &str) -> u64 {
        let status = self.status();
        let choices = status["choices"].as_array().expect("there is a list");
        let these = choices.iter().filter(|choice| choice["because"] == because);
        these.filter_map(|choice| choice["count"].as_u64()).sum()
    }

    /// Ends it with SIGTERM.
    pub fn terminate(&mut self) -> ExitStatus {
        self.process.signal(Signal::SIGTERM);
        self.process.end()
    }

    /// Ends it with SIGKILL.
    pub fn kill(&mut self) {
        self.process.signal(Signal::SIGKILL);
        let status = self.process.end();
        assert!(!status.success());
    }
}
