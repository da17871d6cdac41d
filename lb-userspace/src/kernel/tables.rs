//! The pinned maps, as the daemon reads and writes them.

use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::{fmt, io};

use aya::Ebpf;
use aya::maps::{Array, HashMap, Map, MapData, MapError, PerCpuArray};
use lb_common::about::About;
use lb_common::address::mapped;
use lb_common::backend::BackendRecord;
use lb_common::client::{ClientBinding, ClientKey, Path};
use lb_common::flow::{Flow, FlowKey, Handshake, Leaving};
use lb_common::listener::{ListenerKey, ListenerRecord};
use lb_common::maps::{
    ABOUT, BACKENDS, CLIENTS, EVENTS, FLOWS, HANDSHAKES, LEAVING, LISTENERS, REASONS,
};
use thiserror::Error;

pub mod backends;
pub mod flows;

use super::pins::Pins;
use crate::sys;

#[derive(Debug, Error)]
pub enum TableError {
    #[error("map `{0}` is missing")]
    Missing(&'static str),
    #[error(
        "map `{name}` has keys and values of {sizes:?} bytes, as no layout of this version has"
    )]
    Sizes {
        name: &'static str,
        sizes: [usize; 2],
    },
    #[error("map `{HANDSHAKES}`")]
    Handshakes(#[source] io::Error),
    #[error("map `{LEAVING}`")]
    Leaving(#[source] io::Error),
    #[error("no way to wait for what map `{EVENTS}` tells")]
    Wait(#[source] io::Error),
    #[error("map `{name}`")]
    Map {
        name: &'static str,
        source: MapError,
    },
}

/// The maps under `maps/` of the pin directory.
pub struct Tables {
    about: Array<MapData, About>,
    /// Some of them once more, to do in one call what aya takes several for.
    files: Files,
    replaced: Vec<(FlowKey, Flow, Option<Flow>)>,
    backends: HashMap<MapData, u32, BackendRecord>,
    clients: HashMap<MapData, ClientKey, ClientBinding>,
    flows: HashMap<MapData, FlowKey, Flow>,
    leaving: HashMap<MapData, FlowKey, Leaving>,
    listeners: HashMap<MapData, ListenerKey, ListenerRecord>,
    reasons: PerCpuArray<MapData, u64>,
}

/// Where clients connect.
#[derive(Debug, Clone, Copy)]
pub struct Listening {
    pub address: SocketAddr,
    /// Connections may be spliced, and are prepared for it from their SYN on.
    pub may_splice: bool,
}

/// Maps whose keys and values have the sizes that they should have.
struct Files {
    clients: MapData,
    flows: MapData,
    handshakes: MapData,
    leaving: MapData,
}

impl fmt::Debug for Tables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tables").finish_non_exhaustive()
    }
}

impl Tables {
    /// Takes the maps out of the loaded object, and from them what a former daemon left behind.
    pub(super) fn take(
        ebpf: &mut Ebpf,
        pins: &Pins,
        listeners: &[Listening],
        beside: Option<u32>,
    ) -> Result<Self, TableError> {
        let take = |name| ebpf.take_map(name).ok_or(TableError::Missing(name));
        let mut tables = Self::of(pins, take)?;
        if beside.is_none() {
            tables.forget_copied_sessions(u64::MAX)?;
        }
        tables.add_listeners(listeners)?;
        tables.forget_listeners_except(listeners)?;
        Ok(tables)
    }

    /// Opens the maps once more, for one who takes long and must not keep others from them.
    ///
    /// # Errors
    ///
    /// Somebody has removed the pins.
    pub fn reopen(pins: &Pins) -> Result<Self, TableError> {
        Self::of(pins, |name| {
            let data = MapData::from_pin(pins.map(name)).map_err(of(name))?;
            Map::from_map_data(data).map_err(of(name))
        })
    }

    fn of(
        pins: &Pins,
        mut map: impl FnMut(&'static str) -> Result<Map, TableError>,
    ) -> Result<Self, TableError> {
        Ok(Self {
            about: typed(ABOUT, &mut map)?,
            files: Files {
                clients: file::<ClientKey, ClientBinding>(pins, CLIENTS)?,
                flows: file::<FlowKey, Flow>(pins, FLOWS)?,
                handshakes: file::<FlowKey, Handshake>(pins, HANDSHAKES)?,
                leaving: file::<FlowKey, Leaving>(pins, LEAVING)?,
            },
            replaced: Vec::new(),
            backends: typed(BACKENDS, &mut map)?,
            clients: typed(CLIENTS, &mut map)?,
            flows: typed(FLOWS, &mut map)?,
            leaving: typed(LEAVING, &mut map)?,
            listeners: typed(LISTENERS, &mut map)?,
            reasons: typed(REASONS, &mut map)?,
        })
    }

    /// Writes down whose pins these are.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn sign(&mut self, about: About) -> Result<(), TableError> {
        self.about.set(0, about, 0).map_err(of(ABOUT))
    }

    /// Sessions that were not spliced ended with the process that had their sockets.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn forget_copied_sessions(&mut self, before: u64) -> Result<(), TableError> {
        let stale: Vec<ClientKey> = self
            .clients()
            .filter(|(_, binding)| binding.path != Path::Splice as u8 && binding.session < before)
            .map(|(key, _)| key)
            .collect();
        stale
            .iter()
            .try_for_each(|key| self.clients.remove(key))
            .map_err(of(CLIENTS))
    }

    /// Lets the kernel half know where clients connect, and no less than before of what may be spliced.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn add_listeners(&mut self, wanted: &[Listening]) -> Result<(), TableError> {
        for listening in wanted {
            let there = self.listeners.get(&listener_key(&listening.address), 0);
            if !there.is_ok_and(|record| record.may_splice >= listening.may_splice.into()) {
                self.list(listening)?;
            }
        }
        Ok(())
    }

    /// Nobody listens anywhere else, or splices what is not to be spliced.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn forget_listeners_except(&mut self, wanted: &[Listening]) -> Result<(), TableError> {
        let there: Vec<_> = self.listeners.iter().filter_map(Result::ok).collect();
        for (key, record) in there {
            let is_it = |one: &&Listening| listener_key(&one.address) == key;
            match wanted.iter().find(is_it) {
                None => self.listeners.remove(&key).map_err(of(LISTENERS))?,
                Some(one) if record.may_splice > one.may_splice.into() => self.list(one)?,
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// What was counted stays.
    fn list(&mut self, listening: &Listening) -> Result<(), TableError> {
        let key = listener_key(&listening.address);
        let record = ListenerRecord {
            may_splice: listening.may_splice.into(),
            ..self.listeners.get(&key, 0).unwrap_or_default()
        };
        self.listeners.insert(key, record, 0).map_err(of(LISTENERS))
    }

    /// SYNs that arrived for a listener since it was pinned.
    pub fn syns(&self, listener: &SocketAddr) -> u64 {
        self.listeners
            .get(&listener_key(listener), 0)
            .map_or(0, |count| count.syns)
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

    /// Every client that is listed.
    pub fn clients(&self) -> impl Iterator<Item = (ClientKey, ClientBinding)> {
        sys::Entries::of(self.files.clients.fd().as_fd())
    }

    /// Whether a session was in the kernel and is there no more.
    pub fn is_gone(&self, binding: &ClientBinding) -> bool {
        let flow = self.flow(&FlowKey {
            source: binding.address,
            destination: binding.listener,
            source_port: binding.port,
            destination_port: binding.listener_port,
        });
        binding.path == Path::Splice as u8
            && flow.is_none_or(|flow| flow.session != binding.session)
    }
}

/// A hash map, which must have keys and values of just these sizes.
fn file<K, V>(pins: &Pins, name: &'static str) -> Result<MapData, TableError> {
    let data = MapData::from_pin(pins.map(name)).map_err(of(name))?;
    let info = data.info().map_err(of(name))?;
    let sizes = [info.key_size() as usize, info.value_size() as usize];
    if sizes != [size_of::<K>(), size_of::<V>()] {
        return Err(TableError::Sizes { name, sizes });
    }
    Ok(data)
}

fn typed<T>(
    name: &'static str,
    map: &mut impl FnMut(&'static str) -> Result<Map, TableError>,
) -> Result<T, TableError>
where
    T: TryFrom<Map, Error = MapError>,
{
    T::try_from(map(name)?).map_err(of(name))
}

pub(super) fn of(name: &'static str) -> impl Fn(MapError) -> TableError {
    move |source| TableError::Map { name, source }
}

fn listener_key(address: &SocketAddr) -> ListenerKey {
    ListenerKey {
        address: mapped(address.ip()),
        port: address.port().into(),
    }
}
