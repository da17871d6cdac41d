//! What an operator wants of a backend, what is known of it, and so whether it gets clients.

use std::num::NonZeroU32;

use tokio::time::Instant;

/// What is wanted and known of a backend.
#[derive(Debug, Default)]
pub(super) struct Standing {
    pub wanted: Wanted,
    pub drain: Drain,
    pub health: Health,
    pub up_since: Option<Instant>,
    pub away_since: Option<Instant>,
}

impl Standing {
    pub(super) fn available(&self) -> Result<(), Unavailable> {
        match (self.wanted, self.health) {
            (Wanted::Disabled, _) => Err(Unavailable::Disabled),
            (Wanted::Draining, _) => Err(Unavailable::Draining),
            (Wanted::Serving, Health::Down) => Err(Unavailable::Down),
            (Wanted::Serving, Health::Failing) => Err(Unavailable::Failing),
            (Wanted::Serving, Health::Up) => Ok(()),
        }
    }

    pub(super) fn change(&mut self, now: Instant, change: impl FnOnce(&mut Self)) {
        let was_available = self.available().is_ok();
        let was_up = self.health == Health::Up;
        change(self);
        if !was_available && self.available().is_ok() {
            self.up_since = Some(now);
        }
        match self.health {
            Health::Down | Health::Failing => drop(self.away_since.get_or_insert(now)),
            Health::Up if was_up => {}
            Health::Up => self.away_since = None,
        }
    }
}

/// What an operator wants of a backend.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Wanted {
    #[default]
    Serving,
    /// No new clients; those that it has are moved.
    Draining,
    /// No new clients.
    Disabled,
}

/// How the connections of a backend end while it drains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drain {
    /// Connections a second.
    pub pace: NonZeroU32,
    /// When all are to have ended, in seconds of Unix time.
    pub until: Option<u64>,
}

impl Default for Drain {
    /// Of 10,000 clients the last comes back after not quite two minutes.
    fn default() -> Self {
        const PACE: NonZeroU32 = NonZeroU32::new(100).unwrap();
        Self {
            pace: PACE,
            until: None,
        }
    }
}

/// Whether a backend answers, as far as is known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Health {
    #[default]
    Up,
    /// Checks found so.
    Down,
    /// Clients found so, and no check says otherwise.
    Failing,
}

/// Why a backend gets no new client now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unavailable {
    Disabled,
    Down,
    Draining,
    Full,
    /// It is no longer in the configuration.
    Gone,
    Failing,
}

impl Unavailable {
    pub fn label(self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::Down => "down",
            Self::Draining => "draining",
            Self::Full => "full",
            Self::Gone => "gone",
            Self::Failing => "failing",
        }
    }
}
