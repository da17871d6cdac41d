//! Notes which sessions have ended, and forgets what is over.

use std::sync::atomic::Ordering;
use std::time::Duration;

use lb_common::sticky::{StickyKey, StickyRecord};

use super::{Kept, Memory, Table, is_over, pool_hash};

/// How full the table may stay, in percent; what ended first makes room for others.
const FULL: usize = 90;

/// How long each pool remembers a client whose session has ended.
#[derive(Debug, Default)]
pub struct Expiry(Vec<(u64, Duration)>);

impl Expiry {
    pub fn new<'p>(pools: impl Iterator<Item = (&'p str, Duration)>) -> Self {
        Self(
            pools
                .map(|(name, expire)| (pool_hash(name), expire))
                .collect(),
        )
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// No time for a pool that remembers nobody, or is there no more.
    fn of(&self, key: &StickyKey) -> Duration {
        let found = self.0.iter().find(|(pool, _)| *pool == key.pool);
        found.map_or(Duration::ZERO, |(_, expire)| *expire)
    }
}

/// What becomes of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Forgotten,
    Noted(StickyRecord),
    Stays,
}

fn fate(record: &StickyRecord, is_open: bool, expire: Duration, now: u64) -> Fate {
    match (is_open, record.ended) {
        (true, 0) => Fate::Stays,
        (true, _) => Fate::Noted(StickyRecord {
            ended: 0,
            ..*record
        }),
        (false, 0) if !expire.is_zero() => Fate::Noted(StickyRecord {
            ended: now,
            ..*record
        }),
        (false, _) if record.ended == 0 || is_over(record, expire, now) => Fate::Forgotten,
        (false, _) => Fate::Stays,
    }
}

impl Memory {
    /// Looks at every entry, at the Unix time `now`; `reader` is the map once more, where it is in the
    /// kernel, so that nobody waits for this.
    pub fn tidy(
        &self,
        reader: Option<&Table>,
        is_open: impl Fn(u64) -> bool,
        expiry: &Expiry,
        now: u64,
    ) {
        let mut count = 0_usize;
        let mut ends = Vec::new();
        let mut changes = Vec::new();
        self.each(reader, |key, record| {
            count += 1;
            match fate(&record, is_open(record.session), expiry.of(&key), now) {
                Fate::Stays if record.ended != 0 => ends.push(record.ended),
                Fate::Stays => {}
                fate @ (Fate::Forgotten | Fate::Noted(_)) => changes.push((key, record, fate)),
            }
        });
        for (key, seen, fate) in changes {
            count -= usize::from(fate == Fate::Forgotten);
            self.apply(&key, &seen, fate);
        }
        let room = self.kept().capacity() * FULL / 100;
        if count > room {
            count -= self.make_room(reader, count - room, ends);
        }
        self.entries.store(count as u64, Ordering::Relaxed);
    }

    /// Forgets so many, those whose sessions ended first; how many it could.
    fn make_room(&self, reader: Option<&Table>, wanted: usize, mut ends: Vec<u64>) -> usize {
        ends.sort_unstable();
        let wanted = wanted.min(ends.len());
        let Some(last) = wanted.checked_sub(1).and_then(|last| ends.get(last)) else {
            return 0;
        };
        let mut oldest = Vec::new();
        self.each(reader, |key, record| {
            if record.ended != 0 && record.ended <= *last && oldest.len() < wanted {
                oldest.push((key, record));
            }
        });
        for (key, seen) in &oldest {
            self.apply(key, seen, Fate::Forgotten);
        }
        oldest.len()
    }

    fn each(&self, reader: Option<&Table>, mut look: impl FnMut(StickyKey, StickyRecord)) {
        if let Some(table) = reader {
            table.entries().for_each(|(key, record)| look(key, record));
        } else if let Kept::Daemon(map, _) = &*self.kept() {
            map.iter().for_each(|(key, record)| look(*key, *record));
        }
    }

    /// Changes an entry, unless a session has changed it since it was seen.
    fn apply(&self, key: &StickyKey, seen: &StickyRecord, fate: Fate) {
        let mut kept = self.kept();
        if kept.find(key) != Some(*seen) {
            return;
        }
        match fate {
            Fate::Forgotten => kept.remove(key),
            // It replaces what is there, which takes no room.
            Fate::Noted(record) => drop(kept.put(key, &record)),
            Fate::Stays => {}
        }
    }
}
