//! Whether a backend serves: what checks and clients found, and what follows from it.
//!
//! ```text
//!  checks    unknown ─▶ up ──fall──▶ down ──rise──▶ up          clients go to neither
//!  clients   fine ──max_fails──▶ failing ──fail_timeout──▶ trial ──served──▶ fine
//!                                   ▲                        │ one client at a time
//!                                   ╰────────failed──────────╯
//! ```

use tokio::time::Instant;

use super::Health;
use crate::config;
use crate::config::health::Check;
use crate::config::why::Why;

/// What one check found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finding {
    Passed,
    /// There is somebody, who does not want clients or did not say the right thing.
    Refused,
    /// There is nobody, or nobody who answers.
    Dead,
}

/// Whether the last check disagrees with what is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubt {
    No,
    Yes,
}

/// What is known of one backend. Times come as arguments, and so do the rules.
#[derive(Debug, Default)]
pub struct Vitals {
    checks: Checks,
    clients: Clients,
    /// Checks in a row that found nobody.
    dead: u32,
    /// Its name has never had an address.
    is_nowhere: bool,
    /// What was found last that was not right.
    pub trouble: Option<String>,
    /// When its health changed last; none where it never did.
    pub since: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Checks {
    #[default]
    Unknown,
    Up {
        failed: u32,
    },
    Down {
        passed: u32,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Clients {
    Fine {
        failed: u32,
        first: Option<Instant>,
        cause: Cause,
    },
    Failing {
        until: Instant,
        cause: Cause,
        /// Checks that passed meanwhile.
        passed: u32,
    },
    Trial {
        /// Since when a client has been at it.
        taken: Option<Instant>,
        cause: Cause,
    },
}

/// What the failures of clients have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    Mixed,
    /// Nobody was there, at any of them.
    Unreachable,
    /// The same, and the trial found the same.
    Dead,
}

impl Default for Clients {
    fn default() -> Self {
        Self::Fine {
            failed: 0,
            first: None,
            cause: Cause::Unreachable,
        }
    }
}

impl Vitals {
    pub fn health(&self) -> Health {
        if self.is_nowhere {
            return Health::Down;
        }
        match (self.checks, self.clients) {
            (Checks::Down { .. }, _) => Health::Down,
            (_, Clients::Failing { .. }) => Health::Failing,
            (_, Clients::Fine { .. } | Clients::Trial { .. }) => Health::Up,
        }
    }

    /// Whether its connections lead nowhere: somebody must have looked, and found nobody.
    pub fn is_dead(&self, rules: &config::Health) -> bool {
        match (self.checks, self.clients) {
            (Checks::Down { .. }, _) => self.dead >= rules.fall.get(),
            (Checks::Up { .. }, _) => false,
            (Checks::Unknown, Clients::Failing { cause, .. } | Clients::Trial { cause, .. }) => {
                cause == Cause::Dead
            }
            (Checks::Unknown, Clients::Fine { .. }) => false,
        }
    }

    /// Takes note of a check.
    pub fn check(&mut self, finding: Finding, rules: &config::Health) {
        self.dead = match finding {
            Finding::Dead => self.dead.saturating_add(1),
            Finding::Passed | Finding::Refused => 0,
        };
        let (fall, rise) = (rules.fall.get(), rules.rise.get());
        self.checks = match (self.checks, finding) {
            (Checks::Unknown | Checks::Up { .. }, Finding::Passed) => Checks::Up { failed: 0 },
            (Checks::Unknown, _) => Checks::Down { passed: 0 },
            (Checks::Up { failed }, _) if failed + 1 >= fall => Checks::Down { passed: 0 },
            (Checks::Up { failed }, _) => Checks::Up { failed: failed + 1 },
            (Checks::Down { passed }, Finding::Passed) if passed + 1 >= rise => {
                // What clients found before it was down is long past.
                self.clients = Clients::default();
                Checks::Up { failed: 0 }
            }
            (Checks::Down { passed }, Finding::Passed) => Checks::Down { passed: passed + 1 },
            (Checks::Down { .. }, _) => Checks::Down { passed: 0 },
        };
        if finding == Finding::Passed
            && knows_more_than_clients(&rules.check)
            && let Clients::Failing { passed, .. } = &mut self.clients
        {
            *passed += 1;
            if *passed >= rise {
                self.clients = Clients::default();
            }
        }
    }

    pub fn doubt(&self) -> Doubt {
        match self.checks {
            Checks::Unknown | Checks::Up { failed: 0 } | Checks::Down { passed: 0 } => Doubt::No,
            Checks::Up { .. } | Checks::Down { .. } => Doubt::Yes,
        }
    }

    /// What checks found is of no use any more: there are others now, or none.
    pub fn forget_checks(&mut self) {
        self.checks = Checks::Unknown;
        self.dead = 0;
    }

    /// Nothing is known any more: it is somewhere else.
    pub fn forget(&mut self) {
        self.forget_checks();
        self.clients = Clients::default();
        self.is_nowhere = false;
        self.trouble = None;
    }

    /// It has no address yet.
    pub fn has_no_address(&mut self) {
        self.is_nowhere = true;
        self.trouble = Some("its name has no address yet".to_owned());
    }

    /// Lets a client try; on trial there is only one at a time.
    pub fn admits(&mut self, rules: &config::Health, now: Instant) -> bool {
        let Clients::Trial { taken, .. } = &mut self.clients else {
            return true;
        };
        let is_under_way =
            taken.is_some_and(|since| now.duration_since(since) < rules.clients.fail_timeout);
        if !is_under_way {
            *taken = Some(now);
        }
        !is_under_way
    }

    /// A client got an answer.
    pub fn served(&mut self) {
        self.clients = Clients::default();
        if self.health() == Health::Up && self.doubt() == Doubt::No {
            self.trouble = None;
        }
    }

    /// A client got none, or was sent elsewhere.
    pub fn failed(&mut self, why: Why, rules: &config::Health, now: Instant) {
        let Some(max_fails) = rules.clients.max_fails else {
            return;
        };
        let counts = rules.clients.fail_on.contains(&why);
        let timeout = rules.clients.fail_timeout;
        self.clients = match self.clients {
            Clients::Trial { cause, .. } if !counts => Clients::Trial { taken: None, cause },
            same if !counts => same,
            Clients::Fine {
                failed,
                first,
                cause,
            } => {
                let is_fresh = |first: &Instant| now.duration_since(*first) <= timeout;
                let (failed, first, cause) = match first.filter(is_fresh) {
                    Some(first) => (failed + 1, first, cause.and(why)),
                    None => (1, now, Cause::Unreachable.and(why)),
                };
                if failed >= max_fails.get() {
                    Clients::Failing {
                        until: now + timeout,
                        cause,
                        passed: 0,
                    }
                } else {
                    Clients::Fine {
                        failed,
                        first: Some(first),
                        cause,
                    }
                }
            }
            Clients::Trial { cause, .. } => Clients::Failing {
                until: now + timeout,
                cause: cause.and(why).confirmed(),
                passed: 0,
            },
            failing @ Clients::Failing { .. } => failing,
        };
        if self.health() == Health::Failing {
            self.trouble = Some(format!(
                "clients in a row got no answer, last: {}",
                why.label()
            ));
        }
    }

    /// Lets time pass: what has failed long enough gets a trial.
    pub fn tick(&mut self, now: Instant) {
        if let Clients::Failing { until, cause, .. } = self.clients
            && now >= until
        {
            self.clients = Clients::Trial { taken: None, cause };
        }
    }
}

impl Cause {
    fn and(self, why: Why) -> Self {
        match why {
            Why::Unreachable => self,
            Why::Local | Why::Lost | Why::Silent | Why::Garbled | Why::NotMe(_) => Self::Mixed,
        }
    }

    fn confirmed(self) -> Self {
        match self {
            Self::Mixed => Self::Mixed,
            Self::Unreachable | Self::Dead => Self::Dead,
        }
    }
}

/// Whether a check that passes is worth more than clients that fail: a TCP connection is not.
fn knows_more_than_clients(check: &Check) -> bool {
    match check {
        Check::None | Check::Tcp => false,
        Check::Mqtt(_) | Check::Http(_) => true,
    }
}

#[cfg(test)]
mod tests;
