//! Real clients: scripts that speak MQTT with paho.

use std::path::PathBuf;
use std::process::Command;

use crate::binary;

/// A Python that has paho-mqtt 2.
#[derive(Debug)]
pub struct Paho(PathBuf);

impl Paho {
    /// The one `cargo xtask setup` made, else the system's.
    ///
    /// # Errors
    ///
    /// A reason to skip.
    pub fn find() -> Result<Self, String> {
        let own = binary::workspace().join("target/tools/venv/bin/python3");
        [own, PathBuf::from("python3")]
            .into_iter()
            .find(has_paho)
            .map(Self)
            .ok_or_else(|| "needs Python with paho-mqtt 2; see `cargo xtask setup`".to_owned())
    }

    /// Runs a script of tests/clients; what it printed.
    ///
    /// # Panics
    ///
    /// An assertion of the script fails.
    pub fn run(&self, script: &str, arguments: &[&str]) -> String {
        let path = binary::workspace().join("tests/clients").join(script);
        let mut command = Command::new(&self.0);
        command
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .arg(path)
            .args(arguments);
        let output = command.output().expect("it was found");
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "{script} {arguments:?}: {complaint}"
        );
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}

fn has_paho(python: &PathBuf) -> bool {
    let mut command = Command::new(python);
    command.args(["-c", "from paho.mqtt.client import CallbackAPIVersion"]);
    command.output().is_ok_and(|output| output.status.success())
}
