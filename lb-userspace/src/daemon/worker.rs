//! One thread: its own sockets, its own runtime, its own sessions.

use std::net::TcpListener;
use std::sync::Arc;

use tokio::runtime;
use tokio_util::sync::CancellationToken;

use crate::drain::Tasks;
use crate::listen;
use crate::session::{self, World};

/// Listening sockets with the index of their listener.
pub(super) type Sockets = Vec<(usize, TcpListener)>;

/// Accepts and serves until `stop`, and returns when the last session has ended.
pub(super) fn run(sockets: Sockets, world: &Arc<World>, stop: CancellationToken) {
    match runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(serve(sockets, world, stop)),
        Err(error) => tracing::error!(%error, "a thread serves nobody"),
    }
}

async fn serve(sockets: Sockets, world: &Arc<World>, stop: CancellationToken) {
    let tasks = Tasks::new(stop);
    for (index, socket) in sockets {
        let (world, sessions) = (Arc::clone(world), tasks.clone());
        match tokio::net::TcpListener::from_std(socket) {
            Ok(listener) => tasks.spawn(async move {
                listen::accept_forever(listener, |client, address| {
                    let world = Arc::clone(&world);
                    sessions.spawn(async move {
                        session::run(client, address, &world.listeners[index], &world).await;
                    });
                })
                .await;
            }),
            Err(error) => tracing::error!(%error, "a thread does not listen"),
        }
    }
    tasks.stopped().await;
    tasks.finished().await;
}
