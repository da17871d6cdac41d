//! One thread: its own sockets, its own runtime, its own sessions.

use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::{runtime, time};
use tokio_util::sync::CancellationToken;

use crate::drain::{Stop, Tasks};
use crate::kernel::route;
use crate::listen;
use crate::session::{self, Snapshot, World};

/// How long a client that has been accepted may take, when everything stops, to say who it is.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How long clients may take then that are on their way to a broker, and again those on their way into
/// the kernel.
const LAST_MOMENTS: Duration = Duration::from_secs(5);
/// How long a socket that is given up is still served: handshakes that have begun come to their end,
/// one repetition of a lost segment included.
const LAST_HANDSHAKES: Duration = Duration::from_secs(3);

/// A socket to serve.
#[derive(Debug)]
pub(super) struct Post {
    /// As the configuration writes it.
    pub address: SocketAddr,
    pub socket: TcpListener,
    pub retirement: Arc<Retirement>,
}

/// When a socket is given up; nobody new gets to it by then.
#[derive(Debug, Default)]
pub(super) struct Retirement {
    pub begins: CancellationToken,
    /// The socket is left to others at once; it stays open.
    pub pause: CancellationToken,
    /// How the clients are served that began to connect before.
    pub last: OnceLock<Arc<Snapshot>>,
}

/// Serves what comes by `posts` until `stop`, and returns when the last session has ended.
pub(super) fn run(posts: UnboundedReceiver<Post>, world: &Arc<World>) {
    if world.splicer.is_some()
        && let Err(error) = route::prepare()
    {
        tracing::warn!(%error, "routes are looked up with difficulty");
    }
    match runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(serve(posts, world)),
        Err(error) => tracing::error!(%error, "a thread serves nobody"),
    }
}

async fn serve(mut posts: UnboundedReceiver<Post>, world: &Arc<World>) {
    let tasks = Tasks::new(world.stop.clone());
    let take_posts = async {
        while let Some(post) = posts.recv().await {
            tasks.spawn_to_end(attend(post, Arc::clone(world), tasks.clone()));
        }
        std::future::pending::<()>().await;
    };
    let work = async {
        tokio::select! {
            () = take_posts => {}
            () = tasks.stopped() => {}
        }
        tokio::select! {
            () = tasks.finished() => {}
            () = give_up(&world.stop) => {}
        }
    };
    tokio::select! {
        () = work => {}
        () = pass_on_news(world) => {}
    }
}

/// Tells sessions on the sockmap path what the kernel half has to say of them.
async fn pass_on_news(world: &World) {
    if let Some(sockmap) = &world.sockmap {
        let ended = sockmap.tell_forever().await;
        tracing::error!(?ended, "there is no news of the sockmap path any more");
    }
    std::future::pending::<()>().await;
}

/// Waits ever less patiently for those who have been accepted.
async fn give_up(stop: &Stop) {
    time::sleep(LAST_WORDS).await;
    stop.identifying.cancel();
    time::sleep(LAST_MOMENTS).await;
    stop.opening.cancel();
    stop.carrying.cancelled().await;
    time::sleep(LAST_MOMENTS).await;
    tracing::warn!("connections on their way into the kernel are reset");
}

/// Accepts clients until the socket is given up.
async fn attend(post: Post, world: Arc<World>, sessions: Tasks) {
    let Post {
        address: bound,
        socket,
        retirement,
    } = post;
    let listener = match tokio::net::TcpListener::from_std(socket) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, address = %bound, "a thread does not listen");
            return;
        }
    };
    let limit = || {
        let now = world.snapshot();
        Some(Arc::clone(&now.listener_at(bound)?.segment_limit))
    };
    let mut serve = |client, address| {
        let mut now = world.snapshot();
        if now.listener_at(bound).is_none()
            && let Some(last) = retirement.last.get()
        {
            now = Arc::clone(last);
        }
        begin(client, [address, bound], now, &world, &sessions);
    };
    tokio::select! {
        () = listen::accept_forever(&listener, limit, &mut serve) => {}
        () = retirement.begins.cancelled() => {}
        () = retirement.pause.cancelled() => return,
        () = sessions.stopped() => {
            // Whoever waits in a queue that nobody else has would be reset.
            listen::accept_waiting(&listener, &mut serve).await;
            return;
        }
    }
    tokio::select! {
        () = listen::accept_forever(&listener, || None, &mut serve) => {}
        () = sessions.stopped() => {}
        () = time::sleep(LAST_HANDSHAKES) => tracing::debug!(address = %bound, "closed"),
    }
}

fn begin(
    client: TcpStream,
    [address, bound]: [SocketAddr; 2],
    now: Arc<Snapshot>,
    world: &Arc<World>,
    sessions: &Tasks,
) {
    let world = Arc::clone(world);
    let session = async move { session::run(client, address, bound, &now, &world).await };
    sessions.spawn_with_end(session);
}
