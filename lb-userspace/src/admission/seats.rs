//! Seats: what clients take up of the limits, from their CONNECT to their close, in the daemon and in
//! the kernel.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Source;

/// All seats; exact at any moment, as one lock guards them.
#[derive(Debug, Default)]
pub struct Seats(Mutex<Taken>);

#[derive(Debug, Default)]
struct Taken {
    all: u64,
    /// Those whose sockets the daemon has.
    in_daemon: u64,
    /// By the address that the client connected to, which says which listener it was even after a
    /// restart.
    by_address: HashMap<SocketAddr, u64>,
    /// None while there is no limit for a source: millions of them would take memory for nothing.
    by_source: Option<HashMap<Source, u64>>,
    /// `by_source` was begun when there were connections in the kernel already.
    lacks_flows: bool,
}

/// How many seats there are.
#[derive(Debug, Clone, Copy)]
pub struct Room<'a> {
    pub all: Option<NonZeroU32>,
    pub source: Option<NonZeroU32>,
    pub listener: Option<NonZeroU32>,
    /// The addresses of the listener.
    pub addresses: &'a [SocketAddr],
    pub in_daemon: u64,
}

/// Why there is no seat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    All,
    /// There are no descriptors for more.
    Daemon,
    Listener,
    Source,
}

/// One client's; given back when dropped, unless a flow has it by then.
#[derive(Debug)]
pub struct Seat {
    seats: Arc<Seats>,
    at: SocketAddr,
    from: Source,
    is_counted_by_source: bool,
}

impl Seats {
    /// A seat for a client that connected to the address `at`.
    ///
    /// # Errors
    ///
    /// There is none.
    pub fn take(
        self: &Arc<Self>,
        at: SocketAddr,
        from: Source,
        room: Room<'_>,
    ) -> Result<Seat, Full> {
        let mut taken = self.taken();
        taken.follow(room.source);
        let is_full = |count: u64, most: Option<NonZeroU32>| {
            most.is_some_and(|most| count >= u64::from(most.get()))
        };
        if is_full(taken.all, room.all) {
            return Err(Full::All);
        }
        if is_full(taken.at_listener(room.addresses), room.listener) {
            return Err(Full::Listener);
        }
        if is_full(taken.of_source(from), room.source) {
            return Err(Full::Source);
        }
        if taken.in_daemon >= room.in_daemon {
            return Err(Full::Daemon);
        }
        taken.in_daemon += 1;
        Ok(Seat {
            is_counted_by_source: taken.add(at, from),
            seats: Arc::clone(self),
            at,
            from,
        })
    }

    /// Counts a connection that was in the kernel before this daemon was there.
    pub fn adopt(&self, at: SocketAddr, from: Source) {
        self.taken().add(at, from);
    }

    /// Takes back the seat that a flow had.
    pub fn give_back(&self, at: SocketAddr, from: Source) {
        let mut taken = self.taken();
        taken.remove(at);
        if !taken.lacks_flows {
            taken.remove_source(from);
        }
    }

    /// Counts by source from now on, if a limit is asked for.
    pub fn follow(&self, most_of_a_source: Option<NonZeroU32>) {
        self.taken().follow(most_of_a_source);
    }

    /// Whether connections in the kernel are still to be counted by source.
    pub fn lacks_flows(&self) -> bool {
        self.taken().lacks_flows
    }

    /// Counts them.
    pub fn add_flows(&self, sources: impl IntoIterator<Item = Source>) {
        let mut taken = self.taken();
        for source in sources {
            taken.add_source(source);
        }
        taken.lacks_flows = false;
    }

    pub fn all(&self) -> u64 {
        self.taken().all
    }

    pub fn in_daemon(&self) -> u64 {
        self.taken().in_daemon
    }

    /// Those of a listener, by its addresses.
    pub fn at_listener(&self, addresses: &[SocketAddr]) -> u64 {
        self.taken().at_listener(addresses)
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    fn follow(&mut self, most_of_a_source: Option<NonZeroU32>) {
        if most_of_a_source.is_none() {
            self.by_source = None;
            self.lacks_flows = false;
        } else if self.by_source.is_none() {
            self.by_source = Some(HashMap::new());
            self.lacks_flows = self.all > self.in_daemon;
        }
    }

    /// Tells whether the source was counted too.
    fn add(&mut self, at: SocketAddr, from: Source) -> bool {
        self.all += 1;
        *self.by_address.entry(at).or_default() += 1;
        self.add_source(from)
    }

    fn add_source(&mut self, from: Source) -> bool {
        let Some(by_source) = &mut self.by_source else {
            return false;
        };
        *by_source.entry(from).or_default() += 1;
        true
    }

    fn remove(&mut self, at: SocketAddr) {
        self.all = self.all.saturating_sub(1);
        sub_one(&mut self.by_address, at);
    }

    fn remove_source(&mut self, from: Source) {
        if let Some(by_source) = &mut self.by_source {
            sub_one(by_source, from);
        }
    }

    fn at_listener(&self, addresses: &[SocketAddr]) -> u64 {
        let is_ours = |at: &SocketAddr| addresses.iter().any(|address| covers(address, at));
        let ours = self.by_address.iter().filter(|(at, _)| is_ours(at));
        ours.map(|(_, count)| count).sum()
    }

    fn of_source(&self, from: Source) -> u64 {
        let by_source = self.by_source.as_ref();
        by_source.map_or(0, |by_source| by_source.get(&from).copied().unwrap_or(0))
    }
}

fn covers(listener: &SocketAddr, at: &SocketAddr) -> bool {
    let every = listener.ip().is_unspecified() && listener.is_ipv4() == at.is_ipv4();
    listener.port() == at.port() && (every || listener.ip() == at.ip())
}

fn sub_one<K: Eq + std::hash::Hash>(counts: &mut HashMap<K, u64>, key: K) {
    if let Some(count) = counts.get_mut(&key) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            counts.remove(&key);
        }
    }
}

impl Seat {
    /// The kernel carries the client from now on; the seat stays taken until its flow ends.
    pub fn leave_to_flow(self) {
        let mut taken = self.seats.taken();
        taken.in_daemon = taken.in_daemon.saturating_sub(1);
        if !self.is_counted_by_source && !taken.lacks_flows {
            taken.add_source(self.from);
        }
        drop(taken);
        std::mem::forget(self);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.taken();
        taken.in_daemon = taken.in_daemon.saturating_sub(1);
        taken.remove(self.at);
        if self.is_counted_by_source {
            taken.remove_source(self.from);
        }
    }
}

#[cfg(test)]
mod tests;
