//! A configuration for a test, and everything it needs: a directory, ports, pins.

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::Arc;

use tempfile::TempDir;

use crate::binary;
use crate::bpftool::Pins;
use crate::daemon::Daemon;
use crate::ports;
use crate::service::Service;

/// `nobody` on most systems.
const NOBODY: u32 = 65534;

/// How to start a daemon; every start of it uses the same addresses and files.
#[derive(Debug, Clone)]
pub struct Setup {
    directory: Arc<TempDir>,
    pins: Option<Arc<Pins>>,
    bind: Vec<SocketAddr>,
    backends: String,
    daemon: Vec<String>,
    kernel: Vec<String>,
    limits: Vec<String>,
    listener: Vec<String>,
    pool: Vec<String>,
    more: String,
    health: Vec<String>,
    arguments: Vec<&'static str>,
    service: Option<Service>,
    is_unprivileged: bool,
    open_files: Option<u32>,
}

impl Setup {
    /// One listener on 127.0.0.1 and one on ::1, no backends, no kernel half.
    pub fn new() -> Self {
        let port = ports::free();
        Self {
            directory: Arc::new(TempDir::with_prefix("sluice-test-").expect("there is room")),
            pins: None,
            bind: vec![
                (Ipv4Addr::LOCALHOST, port).into(),
                (Ipv6Addr::LOCALHOST, port).into(),
            ],
            backends: String::new(),
            daemon: vec!["threads = 2".to_owned()],
            kernel: Vec::new(),
            limits: Vec::new(),
            listener: Vec::new(),
            pool: Vec::new(),
            more: String::new(),
            health: vec![r#"check = "none""#.to_owned()],
            arguments: Vec::new(),
            service: None,
            is_unprivileged: false,
            open_files: None,
        }
    }

    pub fn bind(mut self, addresses: &[SocketAddr]) -> Self {
        self.bind = addresses.to_vec();
        self
    }

    pub fn backend(mut self, name: &str, address: SocketAddr) -> Self {
        let backend = format!("[[pools.backends]]\nname = {name:?}\naddress = \"{address}\"\n");
        self.backends.push_str(&backend);
        self
    }

    /// A line of the last backend.
    pub fn of_backend(mut self, line: &str) -> Self {
        self.backends.push_str(line);
        self.backends.push('\n');
        self
    }

    /// More of the file, as it is written; backends that follow belong to the last pool of it.
    pub fn with(mut self, text: &str) -> Self {
        self.backends.push_str(text);
        self.backends.push('\n');
        self
    }

    /// The daemon may have so many files open.
    pub fn open_files(mut self, most: u32) -> Self {
        self.open_files = Some(most);
        self
    }

    /// The kernel half is required, and pinned where this test alone looks.
    pub fn with_kernel(mut self, pins: Pins) -> Self {
        self.pins = Some(Arc::new(pins));
        self.kernel(r#"mode = "required""#)
    }

    /// A line of `[daemon]`.
    pub fn daemon(mut self, line: &str) -> Self {
        self.daemon.push(line.to_owned());
        self
    }

    /// A line of `[kernel]`.
    pub fn kernel(mut self, line: &str) -> Self {
        self.kernel.push(line.to_owned());
        self
    }

    /// A line of `[limits]`.
    pub fn limits(mut self, line: &str) -> Self {
        self.limits.push(line.to_owned());
        self
    }

    /// A line of `[[listeners]]`.
    pub fn listener(mut self, line: &str) -> Self {
        self.listener.push(line.to_owned());
        self
    }

    /// A line of `[[pools]]`.
    pub fn pool(mut self, line: &str) -> Self {
        self.pool.push(line.to_owned());
        self
    }

    /// Text at the end of the file.
    pub fn more(mut self, text: &str) -> Self {
        self.more.push_str(text);
        self
    }

    /// Without any backend.
    pub fn without_backends(mut self) -> Self {
        self.backends.clear();
        self
    }

    /// A line of `[pools.health]`; without one nothing is checked.
    pub fn health(mut self, line: &str) -> Self {
        self.health = merged(self.health, &[line.to_owned()]);
        self
    }

    /// An argument of `sluice run`.
    pub fn argument(mut self, argument: &'static str) -> Self {
        self.arguments.push(argument);
        self
    }

    /// The daemon runs as a user that may do nothing; only root can start it so.
    pub fn unprivileged(mut self) -> Self {
        self.is_unprivileged = true;
        self
    }

    /// The daemon is started by a service manager.
    pub fn by_service(mut self) -> (Self, Service) {
        let service = Service::new(self.directory.path().join("notify.sock"));
        self.service = Some(service.clone());
        (self, service)
    }

    pub fn addresses(&self) -> &[SocketAddr] {
        &self.bind
    }

    pub fn pins(&self) -> &Pins {
        self.pins.as_ref().expect("this test uses the kernel half")
    }

    pub fn control(&self) -> PathBuf {
        self.directory.path().join("control.sock")
    }

    /// Starts the daemon and waits until it serves.
    ///
    /// # Panics
    ///
    /// It ends instead, with what it said.
    pub fn start(&self) -> Daemon {
        Daemon::start(self.clone())
    }

    /// Runs the daemon, which is expected to end by itself with an error; what it said.
    pub fn refused(&self) -> String {
        let mut child = Daemon::spawn(self);
        let status = child.end();
        let log = self.log();
        assert!(
            !status.success(),
            "the daemon ran, and ended with {status}:\n{log}"
        );
        log
    }

    /// Runs a subcommand on this configuration.
    pub fn sluice(&self, subcommand: &str) -> Output {
        let mut command = Command::new(binary::sluice());
        command.args([subcommand, "-c"]).arg(self.write_config());
        command.output().expect("sluice can be run")
    }

    /// What the last daemon has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).expect("a daemon was started")
    }

    pub(crate) fn log_path(&self) -> PathBuf {
        self.directory.path().join("log")
    }

    /// `sluice run`, not yet started.
    pub(crate) fn command(&self) -> Command {
        let config = self.write_config();
        let mut command = match self.open_files {
            Some(most) => {
                let mut shell = Command::new("sh");
                let limited = format!("ulimit -n {most} && exec \"$0\" \"$@\"");
                shell.args(["-c", &limited]).arg(binary::sluice());
                shell
            }
            None if self.is_unprivileged => self.give_to_nobody(),
            None => Command::new(binary::sluice()),
        };
        command
            .args(["run", "-c"])
            .arg(config)
            .args(&self.arguments);
        match &self.service {
            Some(service) => service.wrap(&command),
            None => command,
        }
    }

    /// A copy of the binary where a user without rights can reach it, to be run by that user.
    fn give_to_nobody(&self) -> Command {
        let copy = self.directory.path().join("sluice");
        // Written by this process, it could be "busy" in a child that another test starts now.
        let copied = Command::new("cp").arg(binary::sluice()).arg(&copy).status();
        assert!(copied.is_ok_and(|status| status.success()), "there is room");
        std::os::unix::fs::chown(self.directory.path(), Some(NOBODY), Some(NOBODY))
            .expect("root may give it away");
        let mut command = Command::new(copy);
        command.uid(NOBODY).gid(NOBODY);
        command
    }

    /// Writes the configuration where a daemon of this setup, or of one it was cloned from, finds it.
    pub fn write_config(&self) -> PathBuf {
        self.write_text(&self.config())
    }

    /// The same with any text.
    pub fn write_text(&self, text: &str) -> PathBuf {
        let path = self.directory.path().join("sluice.toml");
        // A daemon that looks at it sees the old text or the new one.
        let next = path.with_extension("next");
        fs::write(&next, text).expect("there is room");
        fs::rename(&next, &path).expect("it is there");
        path
    }

    pub fn config(&self) -> String {
        let mut text = String::new();
        let control = self.control();
        let mut table = |name: &str, lines: &[String]| {
            writeln!(text, "{name}\n{}\n", lines.join("\n")).expect("a string grows");
        };
        table(
            "[daemon]",
            &[
                merged(Vec::new(), &self.daemon),
                vec![format!("control = {control:?}")],
            ]
            .concat(),
        );
        let kernel = match &self.pins {
            Some(pins) => vec![
                format!("pins = {:?}", pins.path()),
                r#"interfaces = ["lo"]"#.to_owned(),
            ],
            None => vec![r#"mode = "off""#.to_owned()],
        };
        table("[kernel]", &merged(kernel, &self.kernel));
        table("[limits]", &self.limits);
        let bind: Vec<String> = self.bind.iter().map(ToString::to_string).collect();
        let listener = vec![
            r#"name = "mqtt""#.into(),
            format!("bind = {bind:?}"),
            r#"pool = "brokers""#.into(),
        ];
        table("[[listeners]]", &[listener, self.listener.clone()].concat());
        table(
            "[[pools]]",
            &[vec![r#"name = "brokers""#.to_owned()], self.pool.clone()].concat(),
        );
        table("[pools.health]", &self.health);
        text + &self.backends + &self.more
    }
}

impl Default for Setup {
    fn default() -> Self {
        Self::new()
    }
}

/// Lines of a table, in which a later one replaces an earlier one of the same key.
fn merged(mut lines: Vec<String>, later: &[String]) -> Vec<String> {
    let key = |line: &str| line.split('=').next().map(|key| key.trim().to_owned());
    for line in later {
        lines.retain(|earlier| key(earlier) != key(line));
        lines.push(line.clone());
    }
    lines
}
