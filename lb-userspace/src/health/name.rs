//! DNS names of backends, looked up again and again.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::time;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::config::{Host, HostPort};
use crate::drain::Tasks;
use crate::session::{Snapshot, World};
use crate::upstream::{Backend, is_somewhere};

/// How long one look-up may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two look-ups of a name that never had an address.
const SOON: Duration = Duration::from_secs(1);

/// The look-ups of one configuration; another one begins anew.
#[derive(Debug, Default)]
pub(super) struct Names {
    of: Option<Arc<Snapshot>>,
    running: Option<DropGuard>,
}

impl Names {
    pub(super) fn follow(&mut self, now: &Arc<Snapshot>, world: &Arc<World>, tasks: &Tasks) {
        if self.of.as_ref().is_some_and(|of| Arc::ptr_eq(of, now)) {
            return;
        }
        let stop = CancellationToken::new();
        for pool in &now.pools {
            for (backend, host) in pool.backends.iter().zip(&pool.hosts) {
                let Host::Name(_) = host.host else {
                    continue;
                };
                let (backend, host) = (Arc::clone(backend), host.clone());
                let (stopped, world) = (stop.clone(), Arc::clone(world));
                let interval = pool.dns_interval;
                tasks.spawn(async move {
                    let follow = follow(&backend, &host, interval, &world);
                    stopped.run_until_cancelled(follow).await;
                });
            }
        }
        self.running = Some(stop.drop_guard());
        self.of = Some(Arc::clone(now));
    }
}

/// Moves a backend to where its name leads.
async fn follow(backend: &Backend, host: &HostPort, interval: Duration, world: &World) {
    let mut is_lost = false;
    loop {
        let last = backend.address();
        time::sleep(if is_somewhere(&last) {
            interval
        } else {
            SOON.min(interval)
        })
        .await;
        match lookup(host).await {
            // Names with several addresses come in any order: as long as the last is among them, it stays.
            Ok(found) if found.contains(&last) => is_lost = false,
            Ok(found) => {
                is_lost = false;
                if let Some(address) = found.first() {
                    tracing::info!(backend = backend.name, from = %last, to = %address, "moved");
                    move_to(backend, *address, world);
                }
            }
            Err(error) if is_lost || !is_somewhere(&last) => {
                tracing::debug!(backend = backend.name, %error, "name is still not found");
            }
            Err(error) => {
                is_lost = true;
                tracing::warn!(backend = backend.name, %error, "keeps its last address");
            }
        }
    }
}

/// Connections to the last address stay what they are.
fn move_to(backend: &Backend, address: SocketAddr, world: &World) {
    backend.change(address, backend.weight());
    world.registry.with_tables(|tables| tables.count(backend));
}

async fn lookup(host: &HostPort) -> io::Result<Vec<SocketAddr>> {
    let port = host.port.get();
    let name = match &host.host {
        Host::Ip(ip) => return Ok(vec![(*ip, port).into()]),
        Host::Name(name) => name.as_str(),
    };
    let found = time::timeout(PATIENCE, lookup_host((name, port)))
        .await
        .map_err(|elapsed| io::Error::new(io::ErrorKind::TimedOut, elapsed))??;
    let found: Vec<SocketAddr> = found.collect();
    if found.is_empty() {
        return Err(io::ErrorKind::NotFound.into());
    }
    Ok(found)
}
