//! The table of backends.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;

use aya::maps::MapError;
use lb_common::address::mapped;
use lb_common::backend::{BackendRecord, State};
use lb_common::maps::{BACKENDS, BACKENDS_CAPACITY};
use lb_common::text;

use super::{TableError, Tables, of};
use crate::upstream::{Backend, Drain, Wanted};

impl Tables {
    /// Numbers for backends: a name keeps the one it had; a number is freed when no name has it, and it
    /// is not `in_use` by a connection.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn number(
        &mut self,
        names: &[&str],
        in_use: &HashSet<u32>,
    ) -> Result<Vec<u32>, TableError> {
        let names: Vec<[i8; 32]> = names.iter().map(|name| text::fixed(name)).collect();
        let mut taken: Vec<(u32, [i8; 32])> = Vec::new();
        for (number, record) in self.records() {
            if names.contains(&record.name) || in_use.contains(&number) {
                taken.push((number, record.name));
            } else {
                self.forget_backend(number)?;
            }
        }
        let numbered = |name: &[i8; 32]| {
            if let Some((number, _)) = taken.iter().find(|(_, known)| known == name) {
                return *number;
            }
            let free = (0..BACKENDS_CAPACITY).find(|n| taken.iter().all(|(taken, _)| taken != n));
            let number = free.unwrap_or(BACKENDS_CAPACITY);
            taken.push((number, *name));
            number
        };
        Ok(names.iter().map(numbered).collect())
    }

    fn records(&self) -> Vec<(u32, BackendRecord)> {
        self.backends.iter().filter_map(Result::ok).collect()
    }

    /// Every backend that is listed, as it was: number, name, address and weight.
    pub fn listed_backends(&self) -> Vec<(u32, String, SocketAddr, u16)> {
        let listed = |(number, record): (u32, BackendRecord)| {
            let name: Vec<u8> = text::bytes(&record.name).collect();
            let name = String::from_utf8_lossy(&name).into_owned();
            let address = IpAddr::from(record.address).to_canonical();
            let address = SocketAddr::new(address, record.port);
            (number, name, address, record.weight)
        };
        self.records().into_iter().map(listed).collect()
    }

    /// Frees a number.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn forget_backend(&mut self, number: u32) -> Result<(), TableError> {
        match self.backends.remove(&number) {
            Err(MapError::KeyNotFound) | Ok(()) => Ok(()),
            Err(error) => Err(of(BACKENDS)(error)),
        }
    }

    /// What was wanted of a backend when it was written down, if it ever was.
    pub fn wanted(&self, backend: &Backend) -> Option<(Wanted, Drain)> {
        let record = self.backends.get(&backend.number, 0).ok()?;
        let drain = Drain {
            pace: NonZeroU32::new(record.drain_pace).unwrap_or_else(|| Drain::default().pace),
            until: (record.drain_until != 0).then_some(record.drain_until),
        };
        let state = State::ALL
            .into_iter()
            .find(|state| *state as u32 == record.state)?;
        let wanted = match state {
            State::Draining => Wanted::Draining,
            State::Disabled => Wanted::Disabled,
            State::Gone | State::Up | State::Down => Wanted::Serving,
        };
        (record.name == text::fixed(&backend.name)).then_some((wanted, drain))
    }

    /// Writes a backend as it is now.
    pub fn count(&mut self, backend: &Backend) {
        let drain = backend.drain();
        let record = BackendRecord {
            name: text::fixed(&backend.name),
            address: mapped(backend.address().ip()),
            port: backend.address().port(),
            weight: backend.weight(),
            state: backend.state() as u32,
            connections: backend.connections.value(),
            drain_until: drain.until.unwrap_or(0),
            drain_pace: drain.pace.get(),
            reserved: 0,
        };
        if let Err(error) = self.backends.insert(backend.number, record, 0) {
            tracing::warn!(%error, backend = backend.name, "{BACKENDS} is out of date");
        }
    }
}
