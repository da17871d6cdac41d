//! Connections that have not sent a whole CONNECT yet; when there are too many, the oldest goes.
//!
//! Who means well sends its CONNECT within a round trip. Who only takes up room is older than that,
//! so it is the one to go, and a flood of such clients closes its own.
//!
//! What they have sent of long CONNECTs is kept here while more is awaited, and has a limit in all.
//! Who needs the room of another one takes it at once: only as many buffers as there are threads, those
//! that are being read into, last a moment longer than they are counted. A TLS handshake counts there too.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::BytesMut;
use tokio::sync::SetOnce;

use super::Source;
use crate::config::{Limits, PENDING_FREE_BYTES, TLS_BYTES};

/// All of them.
#[derive(Debug, Default)]
pub struct Pending(Mutex<Queue>);

#[derive(Debug, Default)]
struct Queue {
    next: u64,
    by_age: BTreeMap<u64, Waiting>,
    /// Those of each source that has any.
    by_source: HashMap<Source, BTreeSet<u64>>,
    /// Those with bytes that count.
    holding: BTreeSet<u64>,
    /// The sum of what counts, of those who are through as well.
    bytes: usize,
}

#[derive(Debug)]
struct Waiting {
    from: Source,
    /// What it has sent; empty while that is read into.
    received: BytesMut,
    /// Its TLS session, which counts whatever it has sent.
    tls: usize,
    /// That, and the capacity of `received` but for the first `PENDING_FREE_BYTES`.
    bytes: usize,
    /// Set when this one has to go.
    crowded_out: Arc<SetOnce<CrowdedOut>>,
}

/// How many there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    pub all: usize,
    pub each_source: usize,
}

/// What others needed, which are younger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CrowdedOut {
    /// Room for their bytes.
    Bytes,
    /// A place.
    Places,
}

/// One of them; no longer when dropped.
#[derive(Debug)]
pub struct Slot {
    pending: Arc<Pending>,
    age: u64,
    crowded_out: Arc<SetOnce<CrowdedOut>>,
}

/// What a client still holds of its CONNECT when that is whole; counted until dropped.
#[derive(Debug)]
pub struct Held {
    pending: Arc<Pending>,
    bytes: usize,
}

impl Pending {
    /// Lets one more in, in the place of an older one where there is no room.
    pub fn enter(self: &Arc<Self>, from: Source, room: Room) -> Slot {
        let crowded_out = Arc::new(SetOnce::new());
        let mut queue = self.queue();
        let own = queue.by_source.get(&from);
        let oldest = if let Some(own) = own.filter(|own| own.len() >= room.each_source) {
            own.first().copied()
        } else if queue.by_age.len() >= room.all {
            queue.by_age.keys().next().copied()
        } else {
            None
        };
        if let Some(oldest) = oldest {
            queue.crowd_out(oldest, CrowdedOut::Places);
        }
        let age = queue.next;
        queue.next += 1;
        let waiting = Waiting {
            from,
            received: BytesMut::new(),
            tls: 0,
            bytes: 0,
            crowded_out: Arc::clone(&crowded_out),
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

    /// What they, and those whose CONNECT no broker has yet, hold in all that counts.
    pub fn bytes(&self) -> usize {
        self.queue().bytes
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    /// Counts so many bytes for one of them; the oldest that hold any go until there is room, it too.
    fn hold(&mut self, age: u64, bytes: usize, most: usize) -> Option<()> {
        let more = bytes.saturating_sub(self.by_age.get(&age)?.bytes);
        while self.bytes + more > most {
            let oldest = self.holding.first().map_or(age, |&oldest| oldest.min(age));
            self.crowd_out(oldest, CrowdedOut::Bytes);
            if oldest == age {
                return None;
            }
        }
        self.by_age.get_mut(&age)?.bytes += more;
        self.holding.insert(age);
        self.bytes += more;
        Some(())
    }

    fn crowd_out(&mut self, age: u64, why: CrowdedOut) {
        if let Some(waiting) = self.remove(age) {
            waiting.crowded_out.set(why).ok();
        }
    }

    fn remove(&mut self, age: u64) -> Option<Waiting> {
        let waiting = self.let_through(age)?;
        self.bytes -= waiting.bytes;
        Some(waiting)
    }

    /// What it holds of its CONNECT goes on to count; its TLS session lasts as long as it does, and so
    /// counts as a client from here on.
    fn let_through(&mut self, age: u64) -> Option<Waiting> {
        let mut waiting = self.by_age.remove(&age)?;
        self.bytes -= waiting.tls;
        waiting.bytes -= mem::take(&mut waiting.tls);
        if let Some(own) = self.by_source.get_mut(&waiting.from) {
            own.remove(&age);
            if own.is_empty() {
                self.by_source.remove(&waiting.from);
            }
        }
        self.holding.remove(&age);
        Some(waiting)
    }
}

impl Slot {
    /// Counts what a TLS session takes from here on; false where this one has to go.
    pub fn begin_tls(&self, limits: &Limits) -> bool {
        let mut queue = self.pending.queue();
        if let Some(waiting) = queue.by_age.get_mut(&self.age) {
            waiting.tls = TLS_BYTES;
        }
        let held = queue.hold(self.age, TLS_BYTES, limits.pending_bytes);
        held.is_some()
    }

    /// Keeps what has come so far until there is more to read.
    pub fn keep(&self, received: BytesMut) {
        // Where this one had to go meanwhile, nobody needs it.
        if let Some(waiting) = self.pending.queue().by_age.get_mut(&self.age) {
            waiting.received = received;
        }
    }

    /// Gives back what was kept, with room for more of a CONNECT; `None` where this one has to go.
    pub fn take(&self, limits: &Limits) -> Option<BytesMut> {
        let mut queue = self.pending.queue();
        let waiting = queue.by_age.get_mut(&self.age)?;
        let (received, tls) = (mem::take(&mut waiting.received), waiting.tls);
        let full = received.capacity();
        if received.len() < full {
            return Some(received);
        }
        let capacity = (2 * full).min(limits.connect_packet_bytes).max(full);
        queue.hold(
            self.age,
            tls + capacity.saturating_sub(PENDING_FREE_BYTES),
            limits.pending_bytes,
        )?;
        drop(queue);
        // Growing in place could take more than what is counted.
        let mut larger = BytesMut::with_capacity(capacity);
        larger.extend_from_slice(&received);
        Some(larger)
    }

    /// Its CONNECT is whole: nobody takes its room any more.
    pub fn finish(self) -> Held {
        let waiting = self.pending.queue().let_through(self.age);
        Held {
            pending: Arc::clone(&self.pending),
            bytes: waiting.map_or(0, |waiting| waiting.bytes),
        }
    }

    /// Ends when others need the room.
    pub async fn crowded_out(&self) -> CrowdedOut {
        *self.crowded_out.wait().await
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.pending.queue().remove(self.age);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.pending.queue().bytes -= self.bytes;
        }
    }
}

#[cfg(test)]
mod tests;
