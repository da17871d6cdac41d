//! The sessions that the daemon carries itself: how long each is silent, and a way to end it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use tokio::sync::Notify;

use crate::evict::Because;
use crate::evict::rank::Kept;

/// All of them, by the number of the session. Each is there once, for as long as it has sockets.
#[derive(Debug, Default)]
pub struct Sessions(Mutex<List>);

#[derive(Debug, Default)]
struct List {
    all: HashMap<u64, Arc<Shared>>,
    is_stopped: bool,
}

/// Why a session is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// Its backend gets rid of it.
    Evicted(Because),
    /// The daemon ends.
    Stopped,
}

/// What a session shows of itself.
#[derive(Debug)]
struct Shared {
    /// Key in `BACKENDS`.
    backend: u32,
    kept: Kept,
    /// `CLOCK_MONOTONIC`, in nanoseconds.
    last_seen: AtomicU64,
    told: Mutex<Option<Told>>,
    is_told: Notify,
}

/// One session to the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sight {
    pub number: u64,
    pub kept: Kept,
    /// When bytes came last, in time of `CLOCK_MONOTONIC`.
    pub last_seen: Duration,
}

/// A session in the list; taken out when dropped.
#[derive(Debug)]
pub struct Carried {
    sessions: Arc<Sessions>,
    number: u64,
    shared: Arc<Shared>,
}

impl Sessions {
    /// Lists a session.
    pub fn add(self: &Arc<Self>, number: u64, backend: u32, kept: Kept) -> Carried {
        let mut list = self.lock();
        let shared = Arc::new(Shared {
            backend,
            kept,
            last_seen: AtomicU64::new(now()),
            told: Mutex::new(list.is_stopped.then_some(Told::Stopped)),
            is_told: Notify::new(),
        });
        list.all.insert(number, Arc::clone(&shared));
        drop(list);
        Carried {
            sessions: Arc::clone(self),
            number,
            shared,
        }
    }

    /// Calls `look` with those of a backend that have not been told to end.
    pub fn of_backend(&self, backend: u32, mut look: impl FnMut(Sight)) {
        let sessions = self.lock();
        let theirs = sessions
            .all
            .iter()
            .filter(|(_, shared)| shared.backend == backend && shared.told().is_none());
        theirs.for_each(|(number, shared)| look(shared.sight(*number)));
    }

    /// The session, unless it has ended or has been told to.
    pub fn sight(&self, number: u64) -> Option<Sight> {
        let sessions = self.lock();
        let shared = sessions.all.get(&number)?;
        shared.told().is_none().then(|| shared.sight(number))
    }

    /// Tells a session to end; whether it is there and had not been told.
    pub fn tell(&self, number: u64, because: Because) -> bool {
        let Some(shared) = self.lock().all.get(&number).cloned() else {
            return false;
        };
        shared.tell(Told::Evicted(because))
    }

    /// Tells all sessions, and those that are yet to come, that the daemon ends.
    pub fn stop(&self) {
        let mut list = self.lock();
        list.is_stopped = true;
        for shared in list.all.values() {
            shared.tell(Told::Stopped);
        }
    }

    fn lock(&self) -> MutexGuard<'_, List> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    /// Whether nothing had been told before, which would stand.
    fn tell(&self, what: Told) -> bool {
        let mut told = self.told();
        let is_first = told.is_none();
        told.get_or_insert(what);
        drop(told);
        self.is_told.notify_one();
        is_first
    }

    fn told(&self) -> MutexGuard<'_, Option<Told>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sight(&self, number: u64) -> Sight {
        Sight {
            number,
            kept: self.kept,
            last_seen: Duration::from_nanos(self.last_seen.load(Ordering::Relaxed)),
        }
    }
}

impl Carried {
    /// Bytes came.
    pub fn is_seen(&self) {
        self.shared.last_seen.store(now(), Ordering::Relaxed);
    }

    /// Ends when the session is to end, and tells why.
    pub async fn told(&self) -> Told {
        loop {
            let told = *self.shared.told();
            if let Some(told) = told {
                return told;
            }
            self.shared.is_told.notified().await;
        }
    }
}

impl Drop for Carried {
    fn drop(&mut self) {
        self.sessions.lock().all.remove(&self.number);
    }
}

/// Exact to some milliseconds, and cheap enough to be asked for every read.
fn now() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE).map_or(Duration::ZERO, Duration::from);
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Because, Kept, Sessions, Told};

    fn of_backend(sessions: &Sessions, backend: u32) -> Vec<u64> {
        let mut numbers = Vec::new();
        sessions.of_backend(backend, |sight| numbers.push(sight.number));
        numbers.sort_unstable();
        numbers
    }

    #[test]
    fn is_listed_until_it_is_told_or_gone() {
        let sessions = Arc::new(Sessions::default());
        let one = sessions.add(1, 7, Kept::Nothing);
        let _two = sessions.add(2, 7, Kept::Session);
        let _three = sessions.add(3, 8, Kept::Session);
        assert_eq!(of_backend(&sessions, 7), [1, 2]);

        assert!(sessions.tell(2, Because::Drained));
        assert!(!sessions.tell(2, Because::Drained));
        assert_eq!(of_backend(&sessions, 7), [1]);
        assert_eq!(sessions.sight(2), None);

        drop(one);
        assert!(of_backend(&sessions, 7).is_empty());
        assert!(!sessions.tell(1, Because::Dead));
    }

    #[tokio::test]
    async fn hears_why_even_if_it_asks_late() {
        let sessions = Arc::new(Sessions::default());
        let one = sessions.add(1, 7, Kept::Nothing);

        sessions.tell(1, Because::Dead);

        sessions.stop();
        let late = sessions.add(2, 7, Kept::Nothing);

        assert_eq!(one.told().await, Told::Evicted(Because::Dead));
        assert_eq!(one.told().await, Told::Evicted(Because::Dead));
        assert_eq!(late.told().await, Told::Stopped);
    }
}
