//! The pools and backends of the running daemon.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use lb_common::backend::State;
use tokio::time::Instant;

use crate::admission::gate::Gate;
use crate::balance::{Balancer, Load, Subject};
use crate::config::{self, ProxyProtocol};
use crate::counters::{Counter, Gauge};
use crate::mqtt::not_me::NotMe;

mod backends;
pub mod choose;
pub mod passed_over;
mod room;
pub mod sources;
mod standing;
pub mod vitals;

pub use backends::Backends;
use passed_over::PassedOver;
pub use room::Expected;
use sources::Sources;
use standing::Standing;
pub use standing::{Drain, Health, Unavailable, Wanted};
use vitals::Vitals;

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
    /// Answers of a backend after which the next one is tried.
    pub retry_on: Vec<NotMe>,
    pub proxy_protocol: ProxyProtocol,
    /// How long a backend that became available takes to get its whole share; zero is at once.
    pub slow_start: Duration,
    pub health: config::Health,
    /// Where each backend is, as it was configured.
    pub hosts: Vec<config::HostPort>,
    pub dns_interval: Duration,
    /// None where clients are not remembered.
    pub sticky: Option<config::Sticky>,
}

impl Pool {
    /// The backends to try for one client, best first; those that get no new client are left out.
    pub fn candidates(
        &self,
        subject: Subject<'_>,
        now: Instant,
    ) -> impl Iterator<Item = &Arc<Backend>> {
        let mut loads = self.loads(now);
        if loads.iter().all(|load| load.share == 0) {
            // Where clients alone found that nobody serves, one more attempt costs less than a refusal.
            for (load, backend) in loads.iter_mut().zip(&self.backends) {
                if backend.available() == Err(Unavailable::Failing) {
                    load.share = whole(backend);
                }
            }
        }
        self.balancer
            .order(subject, &loads)
            .into_iter()
            .map(|index| &self.backends[index])
            .take(self.attempts.get())
    }

    /// The backend that a client belongs to and would be sent to, where that goes by the client.
    pub fn home(&self, subject: Subject<'_>, now: Instant) -> Option<&Arc<Backend>> {
        let home = self.balancer.home(subject, &self.loads(now))?;
        self.backends.get(home)
    }

    /// All there would be to try for one client, best first, without taking a turn.
    pub fn preview(&self, subject: Subject<'_>, now: Instant) -> Vec<&Arc<Backend>> {
        let order = self.balancer.clone().order(subject, &self.loads(now));
        order
            .into_iter()
            .map(|index| &self.backends[index])
            .collect()
    }

    /// Whether a backend would be available if it had fewer clients.
    pub fn has_full(&self) -> bool {
        let mut backends = self.backends.iter();
        backends.any(|backend| backend.available() == Err(Unavailable::Full))
    }

    /// The backends at this moment, in their order.
    pub fn loads(&self, now: Instant) -> Vec<Load> {
        let load = |backend: &Arc<Backend>| Load {
            share: self.share(backend, now),
            connections: backend.connections.value(),
        };
        self.backends.iter().map(load).collect()
    }

    /// In thousandths of a weight.
    fn share(&self, backend: &Backend, now: Instant) -> u32 {
        let whole = whole(backend);
        if whole == 0 || backend.available().is_err() {
            return 0;
        }
        let Some(since) = backend.up_since() else {
            return whole;
        };
        let up = now.saturating_duration_since(since);
        if up >= self.slow_start {
            return whole;
        }
        let part = f64::from(whole) * up.as_secs_f64() / self.slow_start.as_secs_f64();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is between 0 and 256,000"
        )]
        let part = part as u32;
        part.max(1)
    }
}

/// In thousandths of a weight.
fn whole(backend: &Backend) -> u32 {
    u32::from(backend.weight()) * 1000
}

/// Whether an address is one: a backend whose name never had any has that of no host.
pub fn is_somewhere(address: &SocketAddr) -> bool {
    !address.ip().is_unspecified()
}

/// One broker. It outlives a change of the configuration, which may change its address and weight.
#[derive(Debug)]
pub struct Backend {
    /// Its key in the `BACKENDS` map.
    pub number: u32,
    pub name: String,
    address: RwLock<SocketAddr>,
    weight: AtomicU16,
    /// Clients at a time; 0 is no limit.
    most: AtomicU32,
    standing: Mutex<Standing>,
    is_gone: AtomicBool,
    vitals: Mutex<Vitals>,
    pub sources: Sources,
    /// Lets CONNECTs through at its rate.
    pub gate: Gate,
    /// Clients on their way to it, that are not yet sessions.
    opening: Gauge,
    /// Sessions open now.
    pub connections: Gauge,
    /// Sessions opened since the daemon started.
    pub opened: Counter,
    /// Attempts after which another backend was tried, or none was left.
    pub passed_over: PassedOver,
}

impl Backend {
    pub fn new(number: u32, name: &str, address: SocketAddr, weight: u16) -> Self {
        Self {
            number,
            name: name.to_owned(),
            address: RwLock::new(address),
            weight: AtomicU16::new(weight),
            most: AtomicU32::default(),
            standing: Mutex::default(),
            is_gone: AtomicBool::new(false),
            vitals: Mutex::default(),
            sources: Sources::default(),
            gate: Gate::default(),
            opening: Gauge::default(),
            connections: Gauge::default(),
            opened: Counter::default(),
            passed_over: PassedOver::default(),
        }
    }

    pub fn address(&self) -> SocketAddr {
        *self.address.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// 0 to 256; 0 gets no new client by balancing.
    pub fn weight(&self) -> u16 {
        self.weight.load(Ordering::Relaxed)
    }

    /// # Errors
    ///
    /// Why it gets no new client.
    pub fn available(&self) -> Result<(), Unavailable> {
        if self.is_gone() {
            return Err(Unavailable::Gone);
        }
        self.standing().available()?;
        if self.is_full() {
            return Err(Unavailable::Full);
        }
        Ok(())
    }

    pub fn want(&self, wanted: Wanted, now: Instant) {
        self.standing()
            .change(now, |standing| standing.wanted = wanted);
    }

    pub fn wanted(&self) -> Wanted {
        self.standing().wanted
    }

    /// How its connections end while it drains.
    pub fn drain(&self) -> Drain {
        self.standing().drain
    }

    pub fn set_drain(&self, drain: Drain) {
        self.standing().drain = drain;
    }

    pub fn is_found(&self, health: Health, now: Instant) {
        self.standing()
            .change(now, |standing| standing.health = health);
    }

    /// Takes note of what was found, and gives what is asked of it.
    pub fn learn<T>(&self, now: Instant, note: impl FnOnce(&mut Vitals) -> T) -> T {
        let mut vitals = self.vitals.lock().unwrap_or_else(PoisonError::into_inner);
        let before = vitals.health();
        let answer = note(&mut vitals);
        let health = vitals.health();
        if health != before {
            vitals.since = Some(now);
            self.is_found(health, now);
        }
        answer
    }

    /// What `BACKENDS` says of it.
    pub fn state(&self) -> State {
        if self.is_gone() {
            return State::Gone;
        }
        let standing = self.standing();
        match (standing.wanted, standing.health) {
            (Wanted::Disabled, _) => State::Disabled,
            (Wanted::Draining, _) => State::Draining,
            (Wanted::Serving, Health::Down | Health::Failing) => State::Down,
            (Wanted::Serving, Health::Up) => State::Up,
        }
    }

    /// When it last became available; none where it always was.
    pub fn up_since(&self) -> Option<Instant> {
        self.standing().up_since
    }

    /// Since when it does not answer, or is known not to; none where nothing is known.
    pub fn away_since(&self) -> Option<Instant> {
        self.standing().away_since
    }

    /// A client could not reach it.
    pub fn is_missed(&self, now: Instant) {
        self.standing().away_since.get_or_insert(now);
    }

    /// A client has reached it.
    pub fn is_reached(&self) {
        self.standing().away_since = None;
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the configuration has it no more; connections may still be open.
    pub fn is_gone(&self) -> bool {
        self.is_gone.load(Ordering::Relaxed)
    }

    /// The configuration has it no more.
    pub fn retire(&self) {
        self.is_gone.store(true, Ordering::Relaxed);
    }

    /// Where it is, and its share, from now on; the configuration has it.
    pub fn change(&self, address: SocketAddr, weight: u16) {
        self.is_gone.store(false, Ordering::Relaxed);
        let last = std::mem::replace(
            &mut *self.address.write().unwrap_or_else(PoisonError::into_inner),
            address,
        );
        if !is_somewhere(&address) {
            self.learn(Instant::now(), Vitals::has_no_address);
        } else if last != address {
            self.learn(Instant::now(), Vitals::forget);
        }
        self.weight.store(weight, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
