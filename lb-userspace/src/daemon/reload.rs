//! From the configuration that is in force to the one in the file, or to nothing.
//!
//! Whatever may go wrong goes wrong before anything has changed. What has been chosen for a client
//! stays as it is: a session goes on with the configuration it began with, and the kernel with its
//! flows.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::time;

use super::build;
use super::plan::{Known, Plan};

use super::sockets::{Bound, Sockets};
use super::sweep::forget_ended;
use super::{Failure, Start};
use crate::config::check::check;
use crate::config::complaint::Complaints;
use crate::config::diff::diff;
use crate::config::{self, Config, Host};
use crate::control::reload::Outcome;
use crate::kernel::causes;
use crate::session::{Listener, Snapshot, World};
use crate::upstream::Backends;

/// How long one name may take to resolve.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a reload works with.
#[derive(Debug)]
pub(super) struct Reloader<'a> {
    pub start: &'a Start,
    /// The text that is in force.
    pub text: String,
    pub world: &'a World,
    pub sockets: Sockets,
}

/// A configuration that can be put in force.
#[derive(Debug)]
struct Ready {
    plan: Plan,
    bound: Vec<Bound>,
}

impl Reloader<'_> {
    /// Puts the file in force, or says why not; the second is the configuration then.
    pub(super) async fn reload(&mut self) -> (Outcome, Option<Config>) {
        let file = &self.start.file;
        let text = match std::fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) => {
                let because = format!("{}: could not be read: {error}", file.display());
                return (Outcome::Failed(because), None);
            }
        };
        let config = match check(&text) {
            Ok(config) => config,
            Err(list) => {
                let file = file.clone();
                return (
                    Outcome::Refused(Complaints { file, list }.to_string()),
                    None,
                );
            }
        };
        let ready = match self.prepare(&config).await {
            Ok(ready) => ready,
            Err(failure) => return (Outcome::Failed(causes(&failure)), None),
        };
        let before = self.world.snapshot();
        if let Err(failure) = self.switch(ready, &config) {
            // The new configuration is in force; what is left of the old one harms nobody.
            tracing::warn!("after the reload: {}", causes(&failure));
        }
        let told = diff(&self.start.text, &self.text, &text);
        self.text = text;
        let renewed = renewed(&before, &self.world.snapshot());
        let outcome = Outcome::Taken {
            changes: told.changes.into_iter().chain(renewed).collect(),
            needs_restart: told.needs_restart,
        };
        (outcome, Some(config))
    }

    /// Everything that can fail. The tables then know more than is in use, which harms nobody.
    async fn prepare(&self, config: &Config) -> Result<Ready, Failure> {
        build::check_sources(config)?;
        let tls = build::tls(config)?;
        let backends = &self.world.backends;
        let addresses = addresses(config, backends).await;
        let registry = &self.world.registry;
        let numbers = registry
            .with_tables(|tables| build::numbers(config, Some(tables), backends))
            .unwrap_or_else(|| build::numbers(config, None, backends))?;
        let now = self.world.snapshot();
        let plan = Plan::new(
            config,
            Known {
                addresses,
                numbers,
                tls,
            },
            backends,
            Some(&now),
        );
        // The kernel half has to see the first SYN to a new address already.
        let listeners = build::listeners(config);
        let told = registry.with_tables(|tables| tables.add_listeners(&listeners));
        told.transpose()?;
        let bound = self.sockets.bind(&config.listeners)?;
        Ok(Ready { plan, bound })
    }

    fn switch(&mut self, Ready { plan, bound }: Ready, config: &Config) -> Result<(), Failure> {
        let world = self.world;
        let listeners = build::listeners(config);
        self.sockets.close_except(&listeners, &world.snapshot());
        world.replace(plan.apply(&world.backends));
        self.sockets.open(bound);
        self.sockets.limit_segments(&world.snapshot());
        if let Some(splicer) = &world.splicer {
            splicer.ports.avoid(build::listening(config));
        }
        world.registry.with_tables(|tables| {
            let backends = world.backends.all();
            backends.iter().for_each(|backend| tables.count(backend));
        });
        forget_ended(world);
        let forgotten = world
            .registry
            .with_tables(|tables| tables.forget_listeners_except(&listeners));
        forgotten.transpose()?;
        Ok(())
    }
}

/// Sentences about listeners that show other certificates than before.
fn renewed(before: &Snapshot, now: &Snapshot) -> Vec<String> {
    let is_renewed = |listener: &&Listener| {
        let before = before.listener(&listener.name);
        let before = before.and_then(|before| before.tls.as_ref());
        matches!((before, &listener.tls), (Some(was), Some(is)) if !is.shows_the_same(was))
    };
    let listeners = now.listeners.iter().filter(is_renewed);
    listeners
        .map(|listener| format!("listeners.{}.tls shows another certificate", listener.name))
        .collect()
}

/// Where backends are now. One that is known by its name keeps its address where that name leads
/// nowhere for the moment.
async fn addresses(config: &Config, known: &Backends) -> Vec<SocketAddr> {
    let known = known.all();
    let mut addresses = Vec::new();
    for backend in config.pools.iter().flat_map(|pool| &pool.backends) {
        let last = known.iter().find(|known| known.name == backend.name);
        let found = address(backend).await;
        addresses.push(match (found, last) {
            (Ok(address), _) => address,
            (Err(error), Some(last)) if !last.is_gone() => {
                tracing::warn!(backend = backend.name, %error, "keeps its last address");
                last.address()
            }
            (Err(error), _) => build::nowhere(backend, &error),
        });
    }
    addresses
}

async fn address(backend: &config::Backend) -> io::Result<SocketAddr> {
    let port = backend.address.port.get();
    let name = match &backend.address.host {
        Host::Ip(ip) => return Ok((*ip, port).into()),
        Host::Name(name) => name.as_str(),
    };
    let mut found = time::timeout(PATIENCE, lookup_host((name, port)))
        .await
        .map_err(|elapsed| io::Error::new(io::ErrorKind::TimedOut, elapsed))??;
    found.next().ok_or_else(|| io::ErrorKind::NotFound.into())
}
