//! The pinned maps, as the daemon reads and writes them.

use std::fmt;
use std::net::SocketAddr;

use aya::Ebpf;
use aya::maps::{Array, HashMap, MapData, MapError};
use lb_common::about::About;
use lb_common::address::mapped;
use lb_common::backend::{BackendRecord, State};
use lb_common::client::{ClientBinding, ClientKey, Path};
use lb_common::listener::{ListenerCount, ListenerKey};
use lb_common::maps::{ABOUT, BACKENDS, BACKENDS_CAPACITY, CLIENTS, LISTENERS};
use lb_common::text;
use thiserror::Error;

use crate::upstream::Backend;

#[derive(Debug, Error)]
pub enum TableError {
    #[error("map `{0}` is missing")]
    Missing(&'static str),
    #[error("map `{name}`")]
    Map {
        name: &'static str,
        source: MapError,
    },
}

/// The maps under `maps/` of the pin directory.
pub struct Tables {
    about: Array<MapData, About>,
    backends: HashMap<MapData, u32, BackendRecord>,
    clients: HashMap<MapData, ClientKey, ClientBinding>,
    listeners: HashMap<MapData, ListenerKey, ListenerCount>,
}

impl fmt::Debug for Tables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tables").finish_non_exhaustive()
    }
}

impl Tables {
    /// Takes the maps out of the loaded object, and from them what a former daemon left behind.
    pub(super) fn take(ebpf: &mut Ebpf, listeners: &[SocketAddr]) -> Result<Self, TableError> {
        let mut tables = Self {
            about: take(ebpf, ABOUT)?,
            backends: take(ebpf, BACKENDS)?,
            clients: take(ebpf, CLIENTS)?,
            listeners: take(ebpf, LISTENERS)?,
        };
        tables.forget_copied_sessions()?;
        tables.set_listeners(listeners)?;
        Ok(tables)
    }

    /// Writes down whose pins these are.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn sign(&mut self, about: About) -> Result<(), TableError> {
        self.about.set(0, about, 0).map_err(of(ABOUT))
    }

    /// Sessions on the copy path ended with the process that carried them.
    fn forget_copied_sessions(&mut self) -> Result<(), TableError> {
        let stale: Vec<ClientKey> = self
            .clients
            .iter()
            .filter_map(Result::ok)
            .filter(|(_, binding)| binding.path == Path::Copy as u8)
            .map(|(key, _)| key)
            .collect();
        stale
            .iter()
            .try_for_each(|key| self.clients.remove(key))
            .map_err(of(CLIENTS))
    }

    fn set_listeners(&mut self, wanted: &[SocketAddr]) -> Result<(), TableError> {
        let wanted: Vec<ListenerKey> = wanted.iter().map(listener_key).collect();
        let there: Vec<ListenerKey> = self.listeners.keys().filter_map(Result::ok).collect();
        for key in there.iter().filter(|key| !wanted.contains(key)) {
            self.listeners.remove(key).map_err(of(LISTENERS))?;
        }
        for key in wanted.iter().filter(|key| !there.contains(key)) {
            self.listeners
                .insert(key, ListenerCount::default(), 0)
                .map_err(of(LISTENERS))?;
        }
        Ok(())
    }

    /// SYNs that arrived for a listener since it was pinned.
    pub fn syns(&self, listener: &SocketAddr) -> u64 {
        self.listeners
            .get(&listener_key(listener), 0)
            .map_or(0, |count| count.syns)
    }

    /// Numbers for backends: a name keeps the one it had; the numbers of other names are freed.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn number(&mut self, names: &[&str]) -> Result<Vec<u32>, TableError> {
        let names: Vec<[i8; 32]> = names.iter().map(|name| text::fixed(name)).collect();
        let mut taken: Vec<(u32, [i8; 32])> = Vec::new();
        for (number, record) in self
            .backends
            .iter()
            .filter_map(Result::ok)
            .collect::<Vec<_>>()
        {
            if names.contains(&record.name) {
                taken.push((number, record.name));
            } else {
                self.backends.remove(&number).map_err(of(BACKENDS))?;
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

    /// Lists a session under its client.
    ///
    /// # Errors
    ///
    /// The table is full, or what else the kernel says.
    pub fn bind(&mut self, key: &ClientKey, binding: &ClientBinding) -> Result<(), TableError> {
        self.clients.insert(key, binding, 0).map_err(of(CLIENTS))
    }

    /// Removes a session, unless a later one of the same client took its place.
    pub fn unbind(&mut self, key: &ClientKey, session: u64) {
        if self
            .clients
            .get(key, 0)
            .is_ok_and(|binding| binding.session == session)
            && let Err(error) = self.clients.remove(key)
        {
            tracing::warn!(%error, "a client that has gone stays in {CLIENTS}");
        }
    }

    /// Writes a backend as it is now.
    pub fn count(&mut self, backend: &Backend) {
        let record = BackendRecord {
            name: text::fixed(&backend.name),
            address: mapped(backend.address.ip()),
            port: backend.address.port(),
            weight: backend.weight,
            state: State::Up as u32,
            connections: backend.connections.value(),
        };
        if let Err(error) = self.backends.insert(backend.number, record, 0) {
            tracing::warn!(%error, backend = backend.name, "{BACKENDS} is out of date");
        }
    }
}

fn take<T>(ebpf: &mut Ebpf, name: &'static str) -> Result<T, TableError>
where
    T: TryFrom<aya::maps::Map, Error = MapError>,
{
    let map = ebpf.take_map(name).ok_or(TableError::Missing(name))?;
    T::try_from(map).map_err(of(name))
}

fn of(name: &'static str) -> impl Fn(MapError) -> TableError {
    move |source| TableError::Map { name, source }
}

fn listener_key(address: &SocketAddr) -> ListenerKey {
    ListenerKey {
        address: mapped(address.ip()),
        port: address.port().into(),
    }
}
