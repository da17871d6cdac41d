//! When and on what it was measured.

use std::fmt;
use std::fs;
use std::process::Command;
use std::thread;

use serde_json::{Value, json};

use crate::shell;

pub(super) struct Machine {
    date: String,
    cpu: String,
    cpus: usize,
    kernel: String,
    haproxy: String,
    nginx: String,
}

impl Machine {
    pub(super) fn here() -> Self {
        Self {
            date: said("date", &["-u", "+%Y-%m-%d %H:%M UTC"]),
            cpu: cpu_model(),
            cpus: thread::available_parallelism().map_or(1, usize::from),
            kernel: said("uname", &["-r"]),
            haproxy: said("haproxy", &["-v"]),
            // It tells its version on its standard error.
            nginx: said("sh", &["-c", "nginx -v 2>&1"]),
        }
    }

    pub(super) fn json(&self) -> Value {
        let Self {
            date,
            cpu,
            cpus,
            kernel,
            haproxy,
            nginx,
        } = self;
        json!({
            "date": date,
            "cpu": cpu,
            "cpus": cpus,
            "kernel": kernel,
            "haproxy": haproxy,
            "nginx": nginx,
        })
    }
}

/// The first line that a program prints; nothing where it is missing.
fn said(program: &str, arguments: &[&str]) -> String {
    let Some(program) = shell::find(program) else {
        return String::new();
    };
    shell::first_line(Command::new(program).args(arguments)).unwrap_or_default()
}

fn cpu_model() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    model.map_or_else(|| "unknown CPU".to_owned(), |(_, name)| name.to_owned())
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            date,
            cpu,
            cpus,
            kernel,
            ..
        } = self;
        write!(f, "{date}, {cpus} × {cpu}, Linux {kernel}")
    }
}
