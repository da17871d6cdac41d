//! What came of a reload, for people.

use std::fmt;

use crate::control::reload::{Outcome, Reload};

/// The answer to `sluice reload`.
#[derive(Debug)]
pub(super) struct Answer<'a> {
    pub changes: &'a [String],
    pub needs_restart: &'a [String],
}

impl fmt::Display for Answer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for change in self.changes {
            writeln!(f, "{change}")?;
        }
        for change in self.needs_restart {
            writeln!(f, "{change}, which needs a restart")?;
        }
        match self.changes.len() {
            0 => write!(f, "reloaded; nothing has changed"),
            1 => write!(f, "reloaded; 1 change"),
            count => write!(f, "reloaded; {count} changes"),
        }
    }
}

/// The last reload, in one line.
#[derive(Debug)]
pub(super) struct Last<'a>(pub &'a Reload);

impl fmt::Display for Last<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Reload { at, cause, outcome } = self.0;
        match outcome {
            Outcome::Taken {
                changes,
                needs_restart,
            } => write!(
                f,
                "{} changes, {} need a restart",
                changes.len(),
                needs_restart.len()
            ),
            Outcome::Refused(complaints) => {
                write!(
                    f,
                    "refused: {}",
                    complaints.lines().next().unwrap_or_default()
                )
            }
            Outcome::Failed(because) => write!(f, "failed: {because}"),
        }?;
        write!(f, " (by {}, at Unix time {at})", cause.label())
    }
}
