//! The pools and backends of the running daemon.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use crate::balance::{Balancer, Subject};
use crate::counters::{Counter, Gauge};

/// Backends that may serve the same clients.
#[derive(Debug)]
pub struct Pool {
    pub name: String,
    pub balancer: Balancer,
    /// In the order the balancer knows them.
    pub backends: Vec<Arc<Backend>>,
    pub dial_timeout: Duration,
    pub connack_timeout: Duration,
    pub attempts: NonZeroUsize,
}

impl Pool {
    /// The backends to try for one client, best first.
    pub fn candidates(&self, subject: Subject<'_>) -> impl Iterator<Item = &Arc<Backend>> {
        self.balancer
            .candidates(subject)
            .into_iter()
            .map(|index| &self.backends[index])
            .take(self.attempts.get())
    }
}

/// One broker.
#[derive(Debug)]
pub struct Backend {
    /// Its key in the `BACKENDS` map.
    pub number: u32,
    pub name: String,
    pub address: SocketAddr,
    pub weight: u16,
    /// Sessions open now.
    pub connections: Gauge,
    /// Sessions opened since the daemon started.
    pub opened: Counter,
    /// Attempts that did not lead to an answer to CONNECT.
    pub failed: Counter,
}
