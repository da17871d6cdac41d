//! The sockets of one connection on the sockmap path.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _};
use std::sync::Arc;

use aya::maps::MapError;
use lb_common::maps::STREAMS_CAPACITY;
use lb_common::stream::{Moved, NOTHING_COPIED, Stream};
use nix::sys::epoll::{EpollEvent, EpollFlags};
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::sync::Notify;

use super::{Sockmap, lock, queue};

/// The two legs of a connection, client first; its streams are named by the leg they arrive at.
#[derive(Debug)]
pub struct Legs {
    sockmap: Arc<Sockmap>,
    cookies: [u64; 2],
    limit: u32,
    news: Arc<Notify>,
    interests: [EpollFlags; 2],
}

/// What somebody waits for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Expected {
    pub readable: bool,
    pub writable: bool,
}

/// What there always is news of: the peer has closed, or the socket has failed.
const ALWAYS: EpollFlags = EpollFlags::EPOLLRDHUP.union(EpollFlags::EPOLLET);

impl Legs {
    /// Begins to watch two sockets; nothing is carried yet. `limit` is what may lie in front of each
    /// receiver, in bytes.
    ///
    /// # Errors
    ///
    /// There is no room for them, and nothing has changed.
    pub fn begin(sockmap: &Arc<Sockmap>, sockets: [&TcpStream; 2], limit: u32) -> io::Result<Self> {
        let [client, broker] = sockets.map(|socket| SockRef::from(socket).cookie());
        let cookies = [client?, broker?];
        let mut watched = Self {
            sockmap: Arc::clone(sockmap),
            cookies,
            limit,
            news: Arc::default(),
            interests: [EpollFlags::empty(); 2],
        };
        sockmap.connections.add_one();
        if sockmap.connections.value() > u64::from(STREAMS_CAPACITY / 2) {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        for (leg, socket) in sockets.into_iter().enumerate() {
            queue::give_room(socket, limit)?;
            let event = EpollEvent::new(ALWAYS, cookies[leg]);
            sockmap.epoll.add(socket, event)?;
            watched.interests[leg] = ALWAYS;
            lock(&sockmap.sleepers).insert(cookies[leg], Arc::clone(&watched.news));
        }
        watched.list_streams().map_err(io::Error::other)?;
        Ok(watched)
    }

    fn list_streams(&self) -> Result<(), MapError> {
        let mut tables = lock(&self.sockmap.tables);
        for leg in [0, 1] {
            let cookie = self.cookies[leg];
            tables.moved.insert(cookie, Moved::default(), 0)?;
            let stream = self.stream(leg, NOTHING_COPIED);
            tables.streams.insert(cookie, stream, 0)?;
        }
        Ok(())
    }

    fn stream(&self, leg: usize, copied: u64) -> Stream {
        Stream {
            to: self.cookies[1 - leg],
            copied,
            limit: self.limit,
            reserved: 0,
        }
    }

    /// Puts a socket that has nothing to read into the map: what arrives from now on is passed.
    ///
    /// # Errors
    ///
    /// It is not open any more, or the kernel has no memory.
    pub fn insert(&self, leg: usize, socket: &std::net::TcpStream) -> io::Result<()> {
        let mut tables = lock(&self.sockmap.tables);
        let inserted = tables
            .sockets
            .insert(self.cookies[leg], socket.as_raw_fd(), 0);
        inserted.map_err(io::Error::other)
    }

    /// What arrives at a leg is carried, once no more was passed than has been copied.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn carry(&self, leg: usize, copied: u64) -> io::Result<()> {
        let mut tables = lock(&self.sockmap.tables);
        let stream = self.stream(leg, copied);
        let listed = tables.streams.insert(self.cookies[leg], stream, 0);
        listed.map_err(io::Error::other)
    }

    /// What the kernel half has done with what arrived at a leg.
    pub fn moved(&self, leg: usize) -> Moved {
        let tables = lock(&self.sockmap.tables);
        tables.moved.get(&self.cookies[leg], 0).unwrap_or_default()
    }

    /// Says what there should be news of, beside the end of the leg.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn expect(
        &mut self,
        leg: usize,
        socket: &impl AsFd,
        Expected { readable, writable }: Expected,
    ) -> io::Result<()> {
        let mut interest = ALWAYS;
        interest.set(EpollFlags::EPOLLIN, readable);
        interest.set(EpollFlags::EPOLLOUT, writable);
        if std::mem::replace(&mut self.interests[leg], interest) != interest {
            let mut event = EpollEvent::new(interest, self.cookies[leg]);
            self.sockmap.epoll.modify(socket, &mut event)?;
        }
        Ok(())
    }

    /// Waits for news of either leg.
    pub async fn news(&self) {
        self.news.notified().await;
    }

    pub fn sockmap(&self) -> &Sockmap {
        &self.sockmap
    }

    /// What may lie in front of a receiver, in bytes.
    pub fn limit(&self) -> u32 {
        self.limit
    }
}

impl Drop for Legs {
    fn drop(&mut self) {
        self.sockmap.connections.sub_one();
        for cookie in &self.cookies {
            lock(&self.sockmap.sleepers).remove(cookie);
            let mut tables = lock(&self.sockmap.tables);
            // The kernel has removed a socket that is closed, and a stream may not have been listed.
            let removed = [
                tables.sockets.remove(cookie),
                tables.streams.remove(cookie),
                tables.moved.remove(cookie),
            ];
            tracing::trace!(?removed, "left the sockmap path");
        }
    }
}
