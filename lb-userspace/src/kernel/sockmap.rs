//! The sockmap path: the verdict program and its maps, and news of the sockets in them.
//!
//! Nothing is pinned: the maps end with the sockets, and those with the daemon.

use std::collections::HashMap as Sleepers;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aya::maps::{HashMap, MapData, MapError, RingBuf, SockHash};
use aya::programs::SkSkb;
use aya::{Ebpf, EbpfLoader};
use lb_common::maps::{
    CONGESTED, COPIED_SEQ_AT, MOVED, SOCKETS, STREAMS, VERDICT, WMEM_QUEUED_AT, WRITE_SEQ_AT,
};
use lb_common::stream::{Moved, Stream};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollTimeout};
use thiserror::Error;
use tokio::sync::Notify;

mod legs;
pub mod queue;

pub use legs::{Expected, Legs};

use super::btf::Types;
use crate::counters::{Counter, Gauge};
use crate::sys;

/// The object that `build.rs` made of lb-ebpf; empty where it was told to skip that.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/sluice-sockmap"));

/// Why there is no sockmap path.
#[derive(Debug, Error)]
pub enum Unavailable {
    #[error("was left out of this build")]
    NotBuilt,
    #[error("needs the type information of the kernel (CONFIG_DEBUG_INFO_BTF)")]
    NoTypes(#[source] io::Error),
    #[error("does not know this kernel: `{0}` is not where it was")]
    Field(&'static str),
    #[error("could not be loaded")]
    Load(#[from] aya::EbpfError),
    #[error("could not be attached")]
    Attach(#[from] aya::programs::ProgramError),
    #[error("is not whole: `{0}` is missing from it")]
    Part(&'static str),
    #[error("did not take its tables")]
    Map(#[from] MapError),
    #[error("cannot wait for news")]
    News(#[source] io::Error),
}

/// The loaded verdict program; it ends when this is dropped.
pub struct Sockmap {
    tables: Mutex<Tables>,
    epoll: Epoll,
    /// Who waits for news of a socket, by its cookie.
    sleepers: Mutex<Sleepers<u64, Arc<Notify>>>,
    congested: Mutex<Option<RingBuf<MapData>>>,
    /// Connections there are now.
    pub connections: Gauge,
    /// Times that a stream was held back, since its receiver had no room.
    pub held_back: Counter,
    /// Connections that were reset, since they could not go on.
    pub aborted: Counter,
    _program: Ebpf,
}

struct Tables {
    sockets: SockHash<MapData, u64>,
    streams: HashMap<MapData, u64, Stream>,
    moved: HashMap<MapData, u64, Moved>,
}

impl fmt::Debug for Sockmap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sockmap").finish_non_exhaustive()
    }
}

impl Sockmap {
    /// Loads and attaches the program, and so finds out whether this kernel takes it.
    ///
    /// # Errors
    ///
    /// The first obstacle; nothing is left of it.
    pub fn load() -> Result<Self, Unavailable> {
        if OBJECT.is_empty() {
            return Err(Unavailable::NotBuilt);
        }
        let mut loader = EbpfLoader::new();
        let fields = fields(&Types::of_kernel().map_err(Unavailable::NoTypes)?)?;
        for (name, offset) in &fields {
            loader.override_global(name, offset, true);
        }
        let mut ebpf = loader.load(OBJECT)?;
        let sockets: SockHash<MapData, u64> = take(&mut ebpf, SOCKETS)?;
        let program: &mut SkSkb = ebpf
            .program_mut(VERDICT)
            .and_then(|program| program.try_into().ok())
            .ok_or(Unavailable::Part(VERDICT))?;
        program.load()?;
        program.attach(sockets.fd())?;
        Ok(Self {
            tables: Mutex::new(Tables {
                sockets,
                streams: take(&mut ebpf, STREAMS)?,
                moved: take(&mut ebpf, MOVED)?,
            }),
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)
                .map_err(|errno| Unavailable::News(errno.into()))?,
            sleepers: Mutex::default(),
            congested: Mutex::new(Some(take(&mut ebpf, CONGESTED)?)),
            connections: Gauge::default(),
            held_back: Counter::default(),
            aborted: Counter::default(),
            _program: ebpf,
        })
    }

    /// Wakes those who wait for news, for as long as it is polled; one task does that, and more wait
    /// for nothing.
    ///
    /// # Errors
    ///
    /// The kernel has no news any more.
    pub async fn tell_forever(&self) -> io::Result<()> {
        let Some(congested) = lock(&self.congested).take() else {
            return std::future::pending().await;
        };
        let mut congested = sys::watch(congested)?;
        let epoll = sys::watch(self.epoll.0.try_clone()?)?;
        loop {
            tokio::select! {
                ready = congested.readable_mut() => {
                    let mut ready = ready?;
                    let ring = ready.get_inner_mut();
                    while let Some(cookie) = ring.next() {
                        self.held_back.add(1);
                        self.wake(u64::from_ne_bytes(*cookie.first_chunk().unwrap_or(&[0; 8])));
                    }
                    ready.clear_ready();
                }
                ready = epoll.readable() => {
                    let mut ready = ready?;
                    self.tell_of_sockets()?;
                    ready.clear_ready();
                }
            }
        }
    }

    fn tell_of_sockets(&self) -> io::Result<()> {
        let mut events = [EpollEvent::empty(); 128];
        loop {
            let count = self.epoll.wait(&mut events, EpollTimeout::ZERO)?;
            for event in &events[..count] {
                self.wake(event.data());
            }
            if count < events.len() {
                return Ok(());
            }
        }
    }

    fn wake(&self, cookie: u64) {
        if let Some(sleeper) = lock(&self.sleepers).get(&cookie) {
            sleeper.notify_one();
        }
    }
}

/// Where the program finds what it reads of sockets, in bytes.
fn fields(types: &Types) -> Result<[(&'static str, u32); 3], Unavailable> {
    let field = |structure, name| types.field(structure, name).ok_or(Unavailable::Field(name));
    // A socket begins with those it is made of, and the control block of a segment with its number.
    let first = [
        ("tcp_sock", "inet_conn"),
        ("inet_connection_sock", "icsk_inet"),
        ("inet_sock", "sk"),
        ("tcp_skb_cb", "seq"),
        ("sk_skb_cb", "data"),
    ];
    for (structure, name) in first {
        if field(structure, name)? != 0 {
            return Err(Unavailable::Field(name));
        }
    }
    Ok([
        (COPIED_SEQ_AT, field("tcp_sock", "copied_seq")?),
        (WRITE_SEQ_AT, field("tcp_sock", "write_seq")?),
        (WMEM_QUEUED_AT, field("sock", "sk_wmem_queued")?),
    ])
}

fn take<T>(ebpf: &mut Ebpf, name: &'static str) -> Result<T, Unavailable>
where
    T: TryFrom<aya::maps::Map, Error = MapError>,
{
    let map = ebpf.take_map(name).ok_or(Unavailable::Part(name))?;
    Ok(T::try_from(map)?)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
