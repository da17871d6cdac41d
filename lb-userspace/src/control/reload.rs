//! What became of a reload of the configuration.

use serde::{Deserialize, Serialize};

/// A reload, when it is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reload {
    /// In seconds of Unix time.
    pub at: u64,
    pub cause: Cause,
    pub outcome: Outcome,
}

/// Who asked for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// `sluice reload`.
    Command,
    /// The file has changed, or one that it names, and `daemon.watch_config` is on.
    File,
    /// SIGHUP.
    Signal,
}

impl Cause {
    pub fn label(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::File => "file",
            Self::Signal => "signal",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The configuration is in force.
    Taken {
        /// Sentences about what is otherwise than before.
        changes: Vec<String>,
        /// Sentences about what only the next start changes.
        needs_restart: Vec<String>,
    },
    /// The file is at fault, and nothing has changed; every complaint, as `sluice check` shows it.
    Refused(String),
    /// The file is right, but could not be put in force, and nothing has changed.
    Failed(String),
}
