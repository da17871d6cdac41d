//! The sessions that are open: counted here, and written to the kernel for everyone to see.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use lb_common::address::mapped;
use lb_common::client::{ClientBinding, ClientKey, Path};
use lb_common::flow::Flow;
use lb_common::maps::FLOWS;
use sha2::{Digest as _, Sha256};

use crate::counters::Counter;
use crate::evict::rank::Kept;
use crate::kernel::flows::Pair;
use crate::kernel::tables::{TableError, Tables};
use crate::mqtt::Version;
use crate::upstream::Backend;

pub mod carried;

use carried::{Carried, Sessions};

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
    pub path: Path,
    /// In seconds of Unix time.
    pub since: u64,
}

/// All open sessions.
#[derive(Debug)]
pub struct Registry {
    tables: Option<Mutex<Tables>>,
    next_session: AtomicU64,
    replaced: Mutex<Vec<(Flow, Option<Flow>)>>,
    /// Those that the daemon carries itself.
    pub carried: Arc<Sessions>,
    /// Sessions that go on without an entry, since the table is full.
    pub unlisted: Counter,
}

/// One open session; dropped when it ends, unless a flow has it by then.
#[derive(Debug)]
pub struct Entry {
    registry: Arc<Registry>,
    backend: Arc<Backend>,
    key: ClientKey,
    session: u64,
    kept: Kept,
}

impl Registry {
    /// `first_session` is larger than any number these tables have seen.
    pub fn new(tables: Option<Tables>, first_session: u64) -> Self {
        Self {
            tables: tables.map(Mutex::new),
            next_session: AtomicU64::new(first_session),
            replaced: Mutex::default(),
            carried: Arc::default(),
            unlisted: Counter::default(),
        }
    }

    /// Counts and lists a session.
    pub fn open(self: &Arc<Self>, client: &Client<'_>, backend: &Arc<Backend>) -> Entry {
        let session = self.next_session.fetch_add(1, Ordering::Relaxed);
        let entry = Entry {
            registry: Arc::clone(self),
            backend: Arc::clone(backend),
            key: key(client),
            session,
            kept: if client.clean_start {
                Kept::Nothing
            } else {
                Kept::Session
            },
        };
        backend.opened.add(1);
        backend.connections.add_one();
        self.with_tables(|tables| {
            let listed = tables.bind(&entry.key, &binding(client, backend.number, session));
            if let Err(error) = listed {
                self.unlisted.add(1);
                tracing::debug!(%error, "client is not listed in the kernel");
            }
            tables.count(backend);
        });
        entry
    }

    /// Flows of ended connections that made room for others, that from the client first; what they held
    /// is to be given back.
    pub fn take_replaced(&self) -> Vec<(Flow, Option<Flow>)> {
        let mut replaced = self.replaced.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *replaced)
    }

    fn note_replaced(&self, flows: Option<(Flow, Option<Flow>)>) {
        let mut replaced = self.replaced.lock().unwrap_or_else(PoisonError::into_inner);
        replaced.extend(flows);
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
        self.session
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
        sessions.add(self.session, self.backend.number, self.kept)
    }

    /// Puts the session into the kernel, and lists it so.
    ///
    /// # Errors
    ///
    /// There is no room, and nothing has changed.
    pub fn splice(&self, pair: &Pair, next_send: [u32; 2]) -> Result<(), TableError> {
        let spliced = self.registry.with_tables(|tables| {
            self.registry
                .note_replaced(tables.make_room(&pair.from_client.0));
            tables.splice(pair, next_send)?;
            tables.set_path(&self.key, self.session, Path::Splice);
            Ok(())
        });
        spliced.unwrap_or(Err(TableError::Missing(FLOWS)))
    }

    pub fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// The kernel carries the session from now on; what is listed stays until its flow ends.
    pub fn leave_to_flow(self) {
        std::mem::forget(self);
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.backend.connections.sub_one();
        self.registry.with_tables(|tables| {
            tables.unbind(&self.key, self.session);
            tables.count(&self.backend);
        });
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
fn digest(bytes: &[u8]) -> [u8; 16] {
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
        path: client.path as u8,
        listener: mapped(client.listener.ip()),
        listener_port: client.listener.port(),
        reserved: [0; 3],
        id_bytes: u32::try_from(client.id.len()).unwrap_or(u32::MAX),
        reserved_end: 0,
    }
}
