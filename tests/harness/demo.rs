//! A running `cargo xtask run` without a configuration: the demo.

use std::io::{self, BufRead as _, BufReader, PipeReader, Read as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::namespace;
use crate::process::Process;
use crate::wait;

const READY: &str = "Ctrl-C ends the demo.";
/// What stands before the commands to try.
const TRY: &str = "Try in other terminals:";

/// The demo, in a network of this thread's own; all that it started ends when dropped.
#[derive(Debug)]
pub struct Demo {
    process: Process,
    checkout: PathBuf,
    user: Option<u32>,
    output: BufReader<PipeReader>,
    said: String,
}

impl Demo {
    /// Starts the demo, as `user` where one is given, and waits until it says that it is ready.
    /// That has no deadline, because it builds first.
    ///
    /// # Panics
    ///
    /// It ends instead, with what it said.
    pub fn start(checkout: &Path, user: Option<u32>, arguments: &[&str]) -> Self {
        let (output, writer) = io::pipe().expect("there are descriptors");
        let mut command = command_of("cargo", checkout, user);
        command.args(["xtask", "run"]).args(arguments);
        if user.is_some() {
            // It is somebody else's, as is the daemon of the tests in it.
            command.env_remove("CARGO_TARGET_DIR");
        }
        let errors = writer.try_clone().expect("there are descriptors");
        command.stdout(writer).stderr(errors);
        let mut demo = Self {
            process: Process::start(&mut command),
            checkout: checkout.to_owned(),
            user,
            output: BufReader::new(output),
            said: String::new(),
        };
        // It keeps the writing end open, and what the demo says would have no end.
        drop(command);
        while !demo.said.contains(READY) {
            let read = demo.output.read_line(&mut demo.said);
            let read = read.expect("the demo writes UTF-8");
            assert_ne!(read, 0, "the demo ended: {}", demo.said);
        }
        demo
    }

    /// What it has said until it was ready and, once it has ended, after that.
    pub fn said(&self) -> &str {
        &self.said
    }

    /// The commands to try: subscribe, publish, and show the status.
    pub fn commands(&self) -> [String; 3] {
        let (_, after) = self.said.split_once(TRY).expect("it says what to try");
        let mut lines = after.lines().filter_map(|line| line.strip_prefix("  "));
        [(); 3].map(|()| lines.next().expect("there are three").to_owned())
    }

    /// What a person types into a shell in the checkout. Its process is the program typed.
    pub fn typed(&self, line: &str) -> Command {
        let mut command = command_of("sh", &self.checkout, self.user);
        command.arg("-c").arg(format!("exec {line}"));
        command
    }

    /// What the status command tells in JSON.
    pub fn status(&self) -> Value {
        let [_, _, status] = self.commands();
        let output = self.typed(&format!("{status} --json")).output();
        let output = output.expect("there is a shell");
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).expect("it writes JSON")
    }

    /// Connections that each broker has been given so far.
    pub fn opened(&self) -> [u64; 3] {
        let status = self.status();
        let opened = |broker: usize| status["backends"][broker]["opened"].as_u64();
        [0, 1, 2].map(|broker| opened(broker).expect("it has three brokers"))
    }

    /// Ends it as Ctrl-C in a terminal does.
    pub fn interrupt(&mut self) -> ExitStatus {
        self.process.signal_group(Signal::SIGINT);
        let status = self.process.end();
        let read = self.output.read_to_string(&mut self.said);
        read.expect("the demo writes UTF-8");
        status
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        if self.process.ended().is_none() {
            self.process.signal_group(Signal::SIGINT);
            self.process.end();
        }
        // On a network of its own no process is anybody else's.
        namespace::kill_processes();
        wait::until("no process of the demo is left", || {
            namespace::processes().is_empty()
        });
    }
}

/// In a process group of its own, as a shell starts it.
fn command_of(program: &str, checkout: &Path, user: Option<u32>) -> Command {
    let mut command = Command::new(program);
    command
        .current_dir(checkout)
        .stdin(Stdio::null())
        .process_group(0);
    if let Some(user) = user {
        command.uid(user).gid(user);
    }
    command
}
