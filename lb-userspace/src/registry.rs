//! The sessions that are open: counted here, and written to the kernel for everyone to see.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use lb_common::address::mapped;
use lb_common::client::{ClientBinding, ClientKey, Path};
use lb_common::maps::FLOWS;
use sha2::{Digest as _, Sha256};

use crate::counters::Counter;
use crate::evict::rank::Kept;
use crate::kernel::flows::Pair;
use crate::kernel::tables::{TableError, Tables};
use crate::mqtt::Version;
use crate::upstream::Backend;

pub mod carried;
pub mod leaving;

use carried::{Carried, Sessions};
use leaving::Departures;

/// What is known of a client once a broker has accepted it.
#[derive(Debug)]
pub struct Client<'a> {
    /// The id it gave or was given; empty where it has none.
    pub id: &'a str,
    pub address: SocketAddr,
    /// Where it connected to.
    pub listener: SocketAddr,
    pub version: Version,
    /// In seconds; 0 is none.
    pub keep_alive: u16,
    pub clean_start: bool,
    /// In seconds of Unix time.
    pub since: u64,
}

/// All open sessions.
#[derive(Debug)]
pub struct Registry {
    tables: Option<Mutex<Tables>>,
    next_session: AtomicU64,
    /// Those that the daemon carries itself.
    pub carried: Arc<Sessions>,
    /// Those that are on their way into the kernel.
    pub leaving: Arc<Departures>,
    /// Sessions that go on without an entry, since the table is full.
    pub unlisted: Counter,
}

/// One open session; dropped when it ends, unless a flow has it by then.
#[derive(Debug)]
pub struct Entry {
    registry: Arc<Registry>,
    backend: Arc<Backend>,
    key: ClientKey,
    binding: ClientBinding,
    /// It has a row.
    is_listed: bool,
    /// A flow has it.
    is_left: bool,
    kept: Kept,
}

impl Registry {
    /// `first_session` is larger than any number these tables have seen.
    pub fn new(tables: Option<Tables>, first_session: u64) -> Self {
        Self {
            tables: tables.map(Mutex::new),
            next_session: AtomicU64::new(first_session),
            carried: Arc::default(),
            leaving: Arc::default(),
            unlisted: Counter::default(),
        }
    }

    /// Counts a session.
    pub fn open(self: &Arc<Self>, client: &Client<'_>, backend: &Arc<Backend>) -> Entry {
        let session = self.next_session.fetch_add(1, Ordering::Relaxed);
        backend.opened.add(1);
        backend.connections.add_one();
        Entry {
            registry: Arc::clone(self),
            backend: Arc::clone(backend),
            key: key(client),
            binding: binding(client, backend.number, session),
            is_listed: false,
            is_left: false,
            kept: if client.clean_start {
                Kept::Nothing
            } else {
                Kept::Session
            },
        }
    }

    /// Sessions from now on have this number or a larger one.
    pub fn next_session(&self) -> u64 {
        self.next_session.load(Ordering::Relaxed)
    }

    /// Runs `use_them` alone, where there are tables.
    pub fn with_tables<R>(&self, use_them: impl FnOnce(&mut Tables) -> R) -> Option<R> {
        let tables = self.tables.as_ref()?;
        Some(use_them(
            &mut tables.lock().unwrap_or_else(PoisonError::into_inner),
        ))
    }
}

impl Entry {
    pub fn session(&self) -> u64 {
        self.binding.session
    }

    pub fn backend(&self) -> &Backend {
        &self.backend
    }

    /// What the broker keeps when the client goes.
    pub fn kept(&self) -> Kept {
        self.kept
    }

    /// The daemon carries the session itself from now on.
    pub fn carry(&self) -> Carried {
        let sessions = &self.registry.carried;
        sessions.add(self.session(), self.backend.number, self.kept)
    }

    pub fn client(&self) -> &ClientKey {
        &self.key
    }

    /// Puts the session into the kernel, and lists it so.
    ///
    /// # Errors
    ///
    /// There is no room, and nothing has changed.
    pub fn splice(&mut self, pair: &Pair, until: [u32; 2]) -> Result<(), TableError> {
        let registry = Arc::clone(&self.registry);
        let spliced = registry.with_tables(|tables| {
            tables.splice(pair, until)?;
            self.list_in(tables, Path::Splice);
            Ok(())
        });
        spliced.unwrap_or(Err(TableError::Missing(FLOWS)))
    }

    /// Lists a session that stays in the daemon, and who carries it.
    pub fn list(&mut self, path: Path) {
        let registry = Arc::clone(&self.registry);
        registry.with_tables(|tables| self.list_in(tables, path));
    }

    fn list_in(&mut self, tables: &mut Tables, path: Path) {
        self.binding.path = path as u8;
        match tables.bind(&self.key, &self.binding) {
            Ok(()) => self.is_listed = true,
            Err(error) => {
                self.registry.unlisted.add(1);
                tracing::debug!(%error, "client is not listed in the kernel");
            }
        }
    }

    pub fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// The kernel carries the session from now on; what is listed stays until its flow ends.
    pub fn leave_to_flow(mut self) {
        self.is_left = true;
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if self.is_left {
            return;
        }
        self.backend.connections.sub_one();
        if self.is_listed {
            let session = self.session();
            self.registry
                .with_tables(|tables| tables.unbind(&self.key, session));
        }
    }
}

fn key(client: &Client<'_>) -> ClientKey {
    ClientKey::new(client.id, || {
        if client.id.is_empty() {
            digest(client.address.to_string().as_bytes())
        } else {
            digest(client.id.as_bytes())
        }
    })
}

/// Ids are chosen by clients, who must not be able to make two with the same digest.
pub fn digest(bytes: &[u8]) -> [u8; 16] {
    let mut short = [0; 16];
    short.copy_from_slice(&Sha256::digest(bytes)[..16]);
    short
}

fn binding(client: &Client<'_>, backend: u32, session: u64) -> ClientBinding {
    ClientBinding {
        session,
        since: client.since,
        backend,
        port: client.address.port(),
        keep_alive: client.keep_alive,
        address: mapped(client.address.ip()),
        protocol_level: client.version.level(),
        clean_start: client.clean_start.into(),
        path: Path::Copy as u8,
        listener: mapped(client.listener.ip()),
        listener_port: client.listener.port(),
        reserved: [0; 3],
        id_bytes: u32::try_from(client.id.len()).unwrap_or(u32::MAX),
        reserved_end: 0,
    }
}
