//! Looks after the backends: asks them how they are, and acts on what is found.
//!
//! What clients find is noted by `session::open`; `upstream::vitals` says what follows from both.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{self, Instant};
use tokio_util::sync::{CancellationToken, DropGuard};

mod name;
mod page;
mod probe;

use crate::config;
use crate::config::health::{Check, OnDead, Rhythm};
use crate::drain::Tasks;
use crate::evict::{Because, Order, Whom};
use crate::session::{Snapshot, World};
use crate::upstream::vitals::{Doubt, Finding, Vitals};
use crate::upstream::{Backend, Health, Pool, is_somewhere};
use name::Names;
use probe::Trouble;

/// How often is looked for what has changed.
const LOOK: Duration = Duration::from_millis(250);

/// Looks after the backends of the configuration, whichever that is, for as long as the daemon runs.
pub async fn forever(world: &Arc<World>, tasks: &Tasks) {
    let mut checkers = Checkers::default();
    let mut names = Names::default();
    let mut told = HashMap::new();
    loop {
        let now = world.snapshot();
        checkers.follow(&now, tasks);
        names.follow(&now, world, tasks);
        for pool in &now.pools {
            look(pool, world, &mut told);
        }
        // What clients found need not be known at once; a check that found something wakes this up.
        time::timeout(LOOK, checkers.news.notified()).await.ok();
    }
}

/// What is known of a backend in other places.
#[derive(Debug, Clone, Copy)]
struct Told {
    health: Health,
    /// Its connections have been ordered to end.
    is_given_up: bool,
}

/// Passes on what has changed about backends.
fn look(pool: &Pool, world: &World, told: &mut HashMap<u32, Told>) {
    for backend in &pool.backends {
        let now = Instant::now();
        let told = told.entry(backend.number).or_insert_with(|| Told {
            health: Health::default(),
            is_given_up: false,
        });
        let (health, is_dead, trouble) = backend.learn(now, |vitals| {
            vitals.tick(now);
            let is_dead = vitals.is_dead(&pool.health);
            (vitals.health(), is_dead, vitals.trouble.clone())
        });
        if health != told.health {
            told.health = health;
            tell(backend, health, trouble.as_deref());
            world.registry.with_tables(|tables| tables.count(backend));
        }
        // Where nobody is up, its clients would have nowhere to go; perhaps it is our own network.
        let is_given_up = is_dead
            && pool.health.on_dead == OnDead::Reset
            && pool.backends.iter().any(|other| other.available().is_ok());
        if is_given_up != told.is_given_up {
            told.is_given_up = is_given_up;
            if is_given_up {
                world.evictions.order(Order {
                    backend: Arc::clone(backend),
                    because: Because::Dead,
                    whom: Whom::All,
                    pace: pool.health.resets_per_second,
                    within: None,
                });
            } else {
                world.evictions.cancel(backend, Because::Dead);
            }
        }
    }
}

fn tell(backend: &Backend, health: Health, because: Option<&str>) {
    match health {
        Health::Up => tracing::info!(backend = backend.name, "backend is up"),
        Health::Down => tracing::warn!(backend = backend.name, because, "backend is down"),
        Health::Failing => {
            tracing::warn!(backend = backend.name, because, "backend fails its clients");
        }
    }
}

/// One task for each backend that is asked.
#[derive(Debug, Default)]
struct Checkers {
    running: HashMap<String, Checker>,
    news: Arc<Notify>,
}

#[derive(Debug)]
struct Checker {
    backend: Arc<Backend>,
    health: config::Health,
    _running: Option<DropGuard>,
}

impl Checkers {
    /// Starts and stops what the configuration asks for; what it asks for as before goes on.
    fn follow(&mut self, now: &Snapshot, tasks: &Tasks) {
        let configured = || {
            let of = |pool: &'_ Arc<Pool>| pool.backends.clone();
            now.pools.iter().flat_map(of)
        };
        self.running
            .retain(|name, _| configured().any(|backend| backend.name == *name));
        for pool in &now.pools {
            for backend in &pool.backends {
                let known = self.running.get(&backend.name);
                let is_same = |checker: &Checker| {
                    Arc::ptr_eq(&checker.backend, backend) && checker.health == pool.health
                };
                if known.is_some_and(is_same) {
                    continue;
                }
                if known.is_some_and(|checker| checker.health.check != pool.health.check) {
                    backend.learn(Instant::now(), |vitals| vitals.forget_checks());
                }
                let checker = Checker::start(backend, &pool.health, &self.news, tasks);
                self.running.insert(backend.name.clone(), checker);
            }
        }
    }
}

impl Checker {
    fn start(
        backend: &Arc<Backend>,
        health: &config::Health,
        news: &Arc<Notify>,
        tasks: &Tasks,
    ) -> Self {
        let running = (health.check != Check::None).then(|| {
            let stop = CancellationToken::new();
            let (stopped, news) = (stop.clone(), Arc::clone(news));
            let (backend, health) = (Arc::clone(backend), health.clone());
            tasks.spawn(async move {
                stopped
                    .run_until_cancelled(check(backend, health, news))
                    .await;
            });
            stop.drop_guard()
        });
        Self {
            backend: Arc::clone(backend),
            health: health.clone(),
            _running: running,
        }
    }
}

/// Asks a backend again and again.
async fn check(backend: Arc<Backend>, health: config::Health, news: Arc<Notify>) {
    let own_id = own_id();
    loop {
        let address = backend.address();
        if !is_somewhere(&address) {
            time::sleep(health.rhythm.fast_interval).await;
            continue;
        }
        let found = probe::ask(address, &health, &own_id).await;
        let doubt = backend.learn(Instant::now(), |vitals| {
            note(found, &backend.name, &health, vitals);
            vitals.doubt()
        });
        news.notify_one();
        time::sleep(pause(&health.rhythm, doubt)).await;
    }
}

/// Takes note of what a check found.
fn note(found: Result<(), Trouble>, name: &str, rules: &config::Health, vitals: &mut Vitals) {
    let trouble = match found {
        Ok(()) => {
            vitals.check(Finding::Passed, rules);
            if vitals.health() == Health::Up {
                vitals.trouble = None;
            }
            return;
        }
        Err(trouble) => trouble,
    };
    let text = trouble.to_string();
    tracing::debug!(backend = name, trouble = text, "check failed");
    match trouble.finding() {
        Some(finding) => vitals.check(finding, rules),
        None if vitals.trouble.as_ref() == Some(&text) => {}
        None => tracing::warn!(backend = name, "backend {text}"),
    }
    vitals.trouble = Some(text);
}

/// Between two checks: soon after a surprise, and not together with others.
fn pause(rhythm: &Rhythm, doubt: Doubt) -> Duration {
    let usual = match doubt {
        Doubt::No => rhythm.interval,
        Doubt::Yes => rhythm.fast_interval.min(rhythm.interval),
    };
    let spread = f64::from(rhythm.jitter_percent) / 100.0;
    usual.mul_f64(1.0 - spread + 2.0 * spread * random_share())
}

/// From 0 to 1.
fn random_share() -> f64 {
    f64::from(u32::try_from(random() >> 32).unwrap_or(0)) / f64::from(u32::MAX)
}

/// A client id that nobody else has, short enough for 3.1.
fn own_id() -> String {
    format!("sluice-{:016x}", random())
}

/// Every state of the standard library's hasher is keyed at random.
fn random() -> u64 {
    RandomState::new().hash_one(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_about_as_long_as_configured() {
        let rhythm = Rhythm {
            interval: Duration::from_secs(10),
            fast_interval: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            jitter_percent: 20,
        };
        let within = |from: u64, to: u64, pause: Duration| {
            Duration::from_millis(from) <= pause && pause <= Duration::from_millis(to)
        };
        for _ in 0..1000 {
            assert!(within(8_000, 12_000, pause(&rhythm, Doubt::No)));
            assert!(within(800, 1_200, pause(&rhythm, Doubt::Yes)));
        }
    }

    #[test]
    fn makes_up_ids_that_fit_mqtt_3_1() {
        assert!(own_id().len() <= 23);
        assert_ne!(own_id(), own_id());
    }
}
