//! What is remembered of clients, so that they come back to the backend that has their session.
//!
//! An entry is of no use before its session ends, and lives for a while after that. The ends are not
//! noted when they happen: `tidy` compares all entries with the sessions there are, which needs no
//! order among events and finds what a former daemon left.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lb_common::client::ClientKey;
use lb_common::sticky::{StickyKey, StickyRecord};
use lb_common::text;
use xxhash_rust::xxh3::xxh3_64;

use crate::counters::Counter;
use crate::kernel::sticky::Table;
use crate::registry;

mod tidy;

pub use tidy::Expiry;

/// All that is remembered.
#[derive(Debug)]
pub struct Memory {
    kept: Mutex<Kept>,
    entries: AtomicU64,
    /// Clients that went where they had been.
    pub followed: Counter,
    /// Clients that were remembered, or remembered anew.
    pub learned: Counter,
    /// Clients that were refused, so that they come again when their backend is back.
    pub held: Counter,
    /// Clients that were not remembered, since there was no room.
    pub full: Counter,
}

/// Where it is kept.
#[derive(Debug)]
enum Kept {
    /// Ends with the daemon.
    Daemon(HashMap<StickyKey, StickyRecord>, usize),
    Kernel(Table),
}

impl Memory {
    /// In the kernel, or else in the daemon, with room for so many.
    pub fn new(table: Option<Table>, capacity: usize) -> Self {
        let kept = match table {
            Some(table) => Kept::Kernel(table),
            None => Kept::Daemon(HashMap::new(), capacity),
        };
        Self {
            kept: Mutex::new(kept),
            entries: AtomicU64::default(),
            followed: Counter::default(),
            learned: Counter::default(),
            held: Counter::default(),
            full: Counter::default(),
        }
    }

    /// Entries there were at the last look.
    pub fn entries(&self) -> u64 {
        self.entries.load(Ordering::Relaxed)
    }

    /// What is remembered of a client, unless that is `expire` after its last session.
    pub fn recall(&self, key: &StickyKey, expire: Duration, now: u64) -> Option<StickyRecord> {
        let record = self.kept().find(key)?;
        (!is_over(&record, expire, now)).then_some(record)
    }

    /// Remembers that a session of the client is open on a backend.
    pub fn learn(&self, key: &StickyKey, backend: &str, session: u64) {
        let record = StickyRecord {
            backend: text::fixed(backend),
            session,
            ended: 0,
        };
        let counter = if self.kept().put(key, &record) {
            &self.learned
        } else {
            &self.full
        };
        counter.add(1);
    }

    pub fn forget(&self, key: &StickyKey) {
        self.kept().remove(key);
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn capacity(&self) -> usize {
        match self {
            Self::Daemon(_, capacity) => *capacity,
            Self::Kernel(table) => table.capacity,
        }
    }

    fn find(&self, key: &StickyKey) -> Option<StickyRecord> {
        match self {
            Self::Daemon(map, _) => map.get(key).copied(),
            Self::Kernel(table) => table.find(key),
        }
    }

    /// Whether there was room.
    fn put(&mut self, key: &StickyKey, record: &StickyRecord) -> bool {
        match self {
            Self::Daemon(map, capacity) => {
                let has_room = map.len() < *capacity || map.contains_key(key);
                if has_room {
                    map.insert(*key, *record);
                }
                has_room
            }
            Self::Kernel(table) => match table.put(key, record) {
                Ok(()) => true,
                Err(error) => {
                    tracing::debug!(%error, "client is not remembered");
                    false
                }
            },
        }
    }

    fn remove(&mut self, key: &StickyKey) {
        match self {
            Self::Daemon(map, _) => drop(map.remove(key)),
            Self::Kernel(table) => table.remove(key),
        }
    }
}

fn is_over(record: &StickyRecord, expire: Duration, now: u64) -> bool {
    record.ended != 0 && now.saturating_sub(record.ended) >= expire.as_secs()
}

/// The key of a client in a pool; none where it has no id.
pub fn key(pool: &str, client_id: &str) -> Option<StickyKey> {
    if client_id.is_empty() {
        return None;
    }
    Some(StickyKey {
        client: ClientKey::new(client_id, || registry::digest(client_id.as_bytes())),
        pool: pool_hash(pool),
    })
}

pub fn pool_hash(pool: &str) -> u64 {
    xxh3_64(pool.as_bytes())
}

#[cfg(test)]
mod tests;
