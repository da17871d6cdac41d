//! Connections that have not sent a whole CONNECT yet; when there are too many, the oldest goes.
//!
//! Who means well sends its CONNECT within a round trip. Who only takes up room is older than that,
//! so it is the one to go, and a flood of such clients closes its own.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::Source;

/// All of them.
#[derive(Debug, Default)]
pub struct Pending(Mutex<Queue>);

#[derive(Debug, Default)]
struct Queue {
    next: u64,
    by_age: BTreeMap<u64, Waiting>,
    /// Those of each source that has any.
    by_source: HashMap<Source, BTreeSet<u64>>,
}

#[derive(Debug)]
struct Waiting {
    from: Source,
    /// Dropped when this one has to go.
    _stays: oneshot::Sender<()>,
}

/// How many there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    pub all: usize,
    pub each_source: usize,
}

/// One of them; no longer when dropped.
#[derive(Debug)]
pub struct Slot {
    pending: Arc<Pending>,
    age: u64,
    crowded_out: oneshot::Receiver<()>,
}

impl Pending {
    /// Lets one more in, in the place of an older one where there is no room.
    pub fn enter(self: &Arc<Self>, from: Source, room: Room) -> Slot {
        let (stays, crowded_out) = oneshot::channel();
        let mut queue = self.queue();
        let own = queue.by_source.get(&from);
        if let Some(own) = own.filter(|own| own.len() >= room.each_source) {
            let oldest = own.first().copied();
            queue.remove(oldest);
        } else if queue.by_age.len() >= room.all {
            let oldest = queue.by_age.keys().next().copied();
            queue.remove(oldest);
        }
        let age = queue.next;
        queue.next += 1;
        let waiting = Waiting {
            from,
            _stays: stays,
        };
        queue.by_age.insert(age, waiting);
        queue.by_source.entry(from).or_default().insert(age);
        Slot {
            pending: Arc::clone(self),
            age,
            crowded_out,
        }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.queue().by_age.len()
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn remove(&mut self, age: Option<u64>) {
        let Some((age, waiting)) = age.and_then(|age| self.by_age.remove_entry(&age)) else {
            return;
        };
        if let Some(own) = self.by_source.get_mut(&waiting.from) {
            own.remove(&age);
            if own.is_empty() {
                self.by_source.remove(&waiting.from);
            }
        }
    }
}

impl Slot {
    /// Ends when another one needs the room.
    pub async fn crowded_out(&mut self) {
        // Nothing is ever sent: the other end is dropped.
        if (&mut self.crowded_out).await.is_ok() {
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.pending.queue().remove(Some(self.age));
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::Arc;

    use tokio::sync::oneshot::error::TryRecvError;

    use super::{Pending, Room, Slot, Source};

    const ROOM: Room = Room {
        all: 3,
        each_source: 2,
    };

    fn source(last: u8) -> Source {
        std::net::IpAddr::from(Ipv4Addr::new(192, 0, 2, last)).into()
    }

    fn has_to_go(slot: &mut Slot) -> bool {
        slot.crowded_out.try_recv() == Err(TryRecvError::Closed)
    }

    #[test]
    fn a_source_crowds_out_its_own() {
        let pending = Arc::new(Pending::default());
        let mut other = pending.enter(source(1), ROOM);
        let mut first = pending.enter(source(2), ROOM);
        let mut second = pending.enter(source(2), ROOM);

        let mut third = pending.enter(source(2), ROOM);

        assert!(has_to_go(&mut first));
        for slot in [&mut other, &mut second, &mut third] {
            assert!(!has_to_go(slot));
        }
        assert_eq!(pending.count(), 3);
    }

    #[test]
    fn the_oldest_goes_where_there_is_no_room_at_all() {
        let pending = Arc::new(Pending::default());
        let mut slots: Vec<Slot> = (0..4).map(|n| pending.enter(source(n), ROOM)).collect();

        let gone: Vec<bool> = slots.iter_mut().map(has_to_go).collect();

        assert_eq!(gone, [true, false, false, false]);
    }

    #[test]
    fn nothing_is_left_of_those_who_are_through() {
        let pending = Arc::new(Pending::default());
        let slots: Vec<Slot> = (0..9).map(|n| pending.enter(source(n), ROOM)).collect();
        drop(slots);

        assert_eq!(pending.count(), 0);
        assert!(pending.queue().by_source.is_empty());
    }
}
