//! The listening sockets: bound here, served by the threads, closed when nobody wants them.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;
use tokio::sync::mpsc::UnboundedSender;
use tokio::time;

use super::Failure;
use super::notify::Notify;
use super::worker::{Post, Retirement};
use crate::config::Listener;
use crate::kernel::tables::Listening;
use crate::listen::{self, Sharing};
use crate::session::Snapshot;

/// Between two looks whether a socket is still served.
const LOOK: Duration = Duration::from_millis(500);

/// What is bound now, and the threads that serve there.
#[derive(Debug)]
pub(super) struct Sockets {
    threads: Vec<UnboundedSender<Post>>,
    /// Open since before this daemon, and not yet anybody's.
    inherited: Vec<TcpListener>,
    notify: Notify,
    bound: Vec<Bound>,
    /// Given up, and still served by threads that hold their retirement.
    retiring: Vec<Bound>,
}

/// An address, with one socket for each thread.
#[derive(Debug)]
pub(super) struct Bound {
    address: SocketAddr,
    sockets: Vec<TcpListener>,
    /// For the threads in turn, until they have them.
    posts: Vec<Post>,
    retirement: Arc<Retirement>,
}

impl Sockets {
    /// For these threads, with nothing bound but what was `inherited`.
    pub(super) fn new(threads: Vec<UnboundedSender<Post>>, inherited: Vec<TcpListener>) -> Self {
        Self {
            threads,
            inherited,
            notify: Notify::new(),
            bound: Vec::new(),
            retiring: Vec::new(),
        }
    }

    /// Binds what is wanted and not yet bound; nobody is served there before `open`.
    ///
    /// Threads share an address, so another process of the same user could share it as well; binding
    /// it alone first finds that out.
    ///
    /// # Errors
    ///
    /// The first address that cannot be bound.
    pub(super) fn bind(&self, wanted: &[Listener]) -> Result<Vec<Bound>, Failure> {
        let mut made = Vec::new();
        for listener in wanted {
            for address in &listener.bind {
                if self.has(*address) {
                    continue;
                }
                made.push(self.bind_one(*address).map_err(|source| Failure::Bind {
                    name: listener.name.clone(),
                    address: *address,
                    source,
                })?);
            }
        }
        Ok(made)
    }

    fn has(&self, address: SocketAddr) -> bool {
        self.bound.iter().any(|bound| bound.address == address)
    }

    fn bind_one(&self, address: SocketAddr) -> io::Result<Bound> {
        let is_here = |socket: &&TcpListener| socket.local_addr().is_ok_and(|at| at == address);
        let here = self.inherited.iter().filter(is_here);
        let here: Vec<TcpListener> = here
            .map(TcpListener::try_clone)
            .collect::<io::Result<_>>()?;
        if !here.is_empty() {
            return Bound::new(address, self.enough(address, here)?);
        }
        let mut retiring = self.retiring.iter();
        if let Some(same) = retiring.find(|bound| bound.address == address) {
            let sockets = same.sockets.iter().map(TcpListener::try_clone);
            return Bound::new(address, sockets.collect::<io::Result<_>>()?);
        }
        // What we have ourselves on this port is no obstacle.
        let is_ours = |bound: &Bound| bound.address.port() == address.port();
        let is_inherited = |socket: &TcpListener| {
            let at = socket.local_addr();
            at.is_ok_and(|at| at.port() == address.port())
        };
        if !self.bound.iter().chain(&self.retiring).any(is_ours)
            && !self.inherited.iter().any(is_inherited)
        {
            drop(listen::bind(address, Sharing::Alone)?);
        }
        let each = self.threads.iter();
        let sockets = each.map(|_| listen::bind(address, Sharing::BetweenThreads));
        Bound::new(address, sockets.collect::<io::Result<_>>()?)
    }

    /// At least one socket for each thread: another one where the address can be shared, else a second
    /// descriptor for one that is there.
    fn enough(
        &self,
        address: SocketAddr,
        mut sockets: Vec<TcpListener>,
    ) -> io::Result<Vec<TcpListener>> {
        let there = sockets.len();
        for thread in there..self.threads.len() {
            let can_be_shared = SockRef::from(&sockets[0]).reuse_port()?;
            let another = can_be_shared
                .then(|| listen::bind(address, Sharing::BetweenThreads))
                .and_then(Result::ok);
            sockets.push(match another {
                Some(another) => another,
                None => sockets[thread % there].try_clone()?,
            });
        }
        Ok(sockets)
    }

    /// Lets go of what no listener wants; tells where that was.
    pub(super) fn forget_inherited(&mut self) -> Vec<SocketAddr> {
        let left = self.inherited.drain(..);
        let mut left: Vec<SocketAddr> = left.filter_map(|it| it.local_addr().ok()).collect();
        left.retain(|address| self.bound.iter().all(|bound| bound.address != *address));
        left.sort();
        left.dedup();
        left.iter().for_each(|address| self.notify.forget(*address));
        left
    }

    /// Leaves all of them to another daemon, which has them as well.
    pub(super) fn pause(&self) {
        let bound = self.bound.iter().chain(&self.retiring);
        bound.for_each(|bound| bound.retirement.pause.cancel());
    }

    /// Takes `pause` back.
    ///
    /// # Errors
    ///
    /// There are no descriptors left.
    pub(super) fn resume(&mut self) -> io::Result<()> {
        let paused = std::mem::take(&mut self.bound).into_iter();
        let again = paused.map(|bound| Bound::new(bound.address, bound.sockets));
        let again = again.collect::<io::Result<_>>()?;
        self.open(again);
        Ok(())
    }

    /// All that clients are accepted on.
    pub(super) fn descriptors(&self) -> Vec<RawFd> {
        let sockets = self.bound.iter().flat_map(|bound| &bound.sockets);
        sockets.map(AsRawFd::as_raw_fd).collect()
    }

    pub(super) fn notify(&self) -> &Notify {
        &self.notify
    }

    /// Has clients accepted at addresses that were bound.
    pub(super) fn open(&mut self, bound: Vec<Bound>) {
        for mut one in bound {
            for socket in &one.sockets {
                if let Err(error) = listen::open_to_newcomers(socket) {
                    tracing::warn!(address = %one.address, %error, "nobody is let in");
                }
            }
            self.retiring.retain(|old| old.address != one.address);
            let descriptors: Vec<BorrowedFd<'_>> = one.sockets.iter().map(AsFd::as_fd).collect();
            self.notify.store(one.address, &descriptors);
            for (thread, post) in self.threads.iter().cycle().zip(one.posts.drain(..)) {
                if thread.send(post).is_err() {
                    tracing::error!(address = %one.address, "a thread serves nobody");
                }
            }
            self.bound.push(one);
        }
    }

    /// Tells clients of every address how large a segment may be, as it is now.
    pub(super) fn limit_segments(&self, now: &Snapshot) {
        for bound in &self.bound {
            let Some(listener) = now.listener_at(bound.address) else {
                continue;
            };
            for socket in &bound.sockets {
                // No limit at all is what a socket begins with.
                listener.segment_limit.apply(socket, &mut -1);
            }
        }
    }

    /// Forgets, after a while, the sockets that are served no more; with none it takes for ever.
    pub(super) async fn forget_retired(&mut self) {
        if self.retiring.is_empty() {
            return std::future::pending().await;
        }
        time::sleep(LOOK).await;
        self.retiring
            .retain(|bound| Arc::strong_count(&bound.retirement) > 1);
    }

    /// Closes what is not `wanted`; whoever has begun to connect there is still served, by `last`.
    pub(super) fn close_except(&mut self, wanted: &[Listening], last: &Arc<Snapshot>) {
        let mut closing = self.bound.extract_if(.., |bound| {
            wanted.iter().all(|one| one.address != bound.address)
        });
        for bound in &mut closing {
            for socket in &bound.sockets {
                if let Err(error) = listen::close_to_newcomers(socket) {
                    tracing::warn!(address = %bound.address, %error, "clients may be reset as it closes");
                }
            }
            bound.retirement.last.get_or_init(|| Arc::clone(last));
            bound.retirement.begins.cancel();
            self.notify.forget(bound.address);
            self.retiring.push(bound);
        }
    }
}

impl Bound {
    fn new(address: SocketAddr, sockets: Vec<TcpListener>) -> io::Result<Self> {
        let retirement = Arc::<Retirement>::default();
        let post = |socket: &TcpListener| {
            Ok(Post {
                address,
                socket: socket.try_clone()?,
                retirement: Arc::clone(&retirement),
            })
        };
        let posts = sockets.iter().map(post).collect::<io::Result<_>>()?;
        Ok(Self {
            address,
            sockets,
            posts,
            retirement,
        })
    }
}
