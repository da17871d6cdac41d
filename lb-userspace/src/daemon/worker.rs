//! One thread: its own sockets, its own runtime, its own sessions.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use tokio::{runtime, time};
use tokio_util::sync::CancellationToken;

use crate::drain::Tasks;
use crate::kernel::route;
use crate::listen::{self, SegmentLimit};
use crate::session::{self, World};

/// How long connections may take, when everything stops, that are on their way into the kernel.
const LAST_MOMENTS: Duration = Duration::from_secs(5);

/// Listening sockets with the name of their listener.
pub(super) type Sockets = Vec<(String, TcpListener)>;

/// Accepts and serves until `stop`, and returns when the last session has ended.
pub(super) fn run(sockets: Sockets, world: &Arc<World>, stop: CancellationToken) {
    if world.splicer.is_some()
        && let Err(error) = route::prepare()
    {
        tracing::warn!(%error, "routes are looked up with difficulty");
    }
    match runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(serve(sockets, world, stop)),
        Err(error) => tracing::error!(%error, "a thread serves nobody"),
    }
}

async fn serve(sockets: Sockets, world: &Arc<World>, stop: CancellationToken) {
    let tasks = Tasks::new(stop);
    for (name, socket) in sockets {
        let Some(limit) = limit(world, &name) else {
            continue;
        };
        let (world, sessions) = (Arc::clone(world), tasks.clone());
        match tokio::net::TcpListener::from_std(socket) {
            Ok(listener) => tasks.spawn(async move {
                listen::accept_forever(listener, &limit, |client, address| {
                    let (world, splicing) = (Arc::clone(&world), Arc::clone(&world));
                    let name = name.clone();
                    sessions.spawn_with_end(
                        async move { session::run(client, address, &name, &world).await },
                        |hand_off| async move {
                            if let Some(splicer) = &splicing.splicer {
                                hand_off.complete(splicer).await;
                            }
                        },
                    );
                })
                .await;
            }),
            Err(error) => tracing::error!(%error, "a thread does not listen"),
        }
    }
    tasks.stopped().await;
    if time::timeout(LAST_MOMENTS, tasks.finished()).await.is_err() {
        tracing::warn!("connections on their way into the kernel are reset");
    }
}

fn limit(world: &World, listener: &str) -> Option<Arc<SegmentLimit>> {
    let now = world.snapshot();
    Some(Arc::clone(&now.listener(listener)?.segment_limit))
}
