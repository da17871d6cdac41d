//! Who is tried for a client: the backend that it comes back to, else what the balancer says.

use std::sync::Arc;

use tokio::time::Instant;

use super::{Backend, Pool, Unavailable};
use crate::balance::Subject;

/// What a client wants of the session it may have had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// It gives it up.
    Anew,
    /// It goes on with it.
    Resume,
}

/// The backends to try for one client, and why these.
#[derive(Debug)]
pub struct Choice<'p> {
    pub because: Because,
    /// The best first.
    pub candidates: Vec<&'p Arc<Backend>>,
}

/// Why just these backends are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Because {
    /// By `balance` alone.
    Balanced,
    /// By `balance`, for this once: the backend it was remembered with is full.
    Elsewhere,
    /// No one is tried: the backend that has the session may soon be back.
    Held,
    /// No other is tried: the backend that has the session may be away for no more than a moment.
    Kept,
    /// The backend it was remembered with gets no clients, or is away for too long.
    Replaced,
    /// First the backend it was remembered with, then by `balance`.
    Returned,
}

impl Because {
    pub fn label(self) -> &'static str {
        match self {
            Self::Balanced => "balanced",
            Self::Elsewhere => "elsewhere",
            Self::Held => "held",
            Self::Kept => "kept",
            Self::Replaced => "replaced",
            Self::Returned => "returned",
        }
    }
}

/// Whether a choice counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    Taken,
    Thought,
}

impl Pool {
    /// Who would be tried, without taking a turn.
    pub fn preview_choice<'p>(
        &'p self,
        subject: Subject<'_>,
        remembered: Option<&str>,
        wish: Wish,
        now: Instant,
    ) -> Choice<'p> {
        self.choice(subject, remembered, wish, now, Turn::Thought)
    }

    /// Who is tried for a client that is remembered with the backend of this name.
    pub fn choose<'p>(
        &'p self,
        subject: Subject<'_>,
        remembered: Option<&str>,
        wish: Wish,
        now: Instant,
    ) -> Choice<'p> {
        self.choice(subject, remembered, wish, now, Turn::Taken)
    }

    fn choice<'p>(
        &'p self,
        subject: Subject<'_>,
        remembered: Option<&str>,
        wish: Wish,
        now: Instant,
        turn: Turn,
    ) -> Choice<'p> {
        let candidates = || match turn {
            Turn::Taken => self.candidates(subject, now).collect(),
            Turn::Thought => {
                let all = self.preview(subject, now).into_iter();
                all.take(self.attempts.get()).collect()
            }
        };
        let balanced = |because| Choice {
            because,
            candidates: candidates(),
        };
        let its = remembered.and_then(|name| self.backends.iter().find(|one| one.name == name));
        let Some(its) = its else {
            return balanced(Because::Balanced);
        };
        match its.available() {
            // Who has a session there is the right one to try it.
            Ok(()) | Err(Unavailable::Failing)
                if wish == Wish::Resume && self.is_held(its, now) =>
            {
                Choice {
                    because: Because::Kept,
                    candidates: vec![its],
                }
            }
            Ok(()) => {
                let others = self.preview(subject, now).into_iter();
                let others = others.filter(|other| !Arc::ptr_eq(other, its));
                let candidates = [its].into_iter().chain(others);
                Choice {
                    because: Because::Returned,
                    candidates: candidates.take(self.attempts.get()).collect(),
                }
            }
            Err(Unavailable::Down) if wish == Wish::Resume && self.is_held(its, now) => Choice {
                because: Because::Held,
                candidates: Vec::new(),
            },
            // Nothing but room is missing there, so the session is worth coming back to.
            Err(Unavailable::Full) if wish == Wish::Resume => balanced(Because::Elsewhere),
            Err(_) => balanced(Because::Replaced),
        }
    }

    /// Whether clients still wait for a backend; one of which nothing is known is there.
    fn is_held(&self, backend: &Backend, now: Instant) -> bool {
        let Some(sticky) = self.sticky else {
            return false;
        };
        let away = backend.away_since();
        let away = away.map(|since| now.saturating_duration_since(since));
        !sticky.hold.is_zero() && away.is_none_or(|away| away < sticky.hold)
    }
}
