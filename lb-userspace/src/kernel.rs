//! The kernel half: loaded, attached and pinned, or a reason why not.
//!
//! Everything pinned stays when the daemon ends, and is taken over by the next; `sluice detach`
//! removes it. Nothing outside this module names aya.

use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use aya::programs::SchedClassifier;
use aya::{Ebpf, EbpfLoader};
use aya_log::{EbpfLogger, Level};
use lb_common::maps;
use thiserror::Error;

mod attach;
mod btf;
pub mod capabilities;
pub mod conntrack;
pub mod events;
mod filters;
pub mod flows;
pub mod grace;
pub mod interfaces;
pub mod leg;
mod netlink;
pub mod pins;
pub mod ports;
pub mod reroute;
pub mod reset;
pub mod route;
pub mod sockmap;
pub mod sticky;
pub mod sweep;
pub mod tables;

use attach::{AttachError, Manner, PROGRAMS, attach};
use events::Events;
use interfaces::Interface;
use pins::Pins;
use reroute::{Look, Watch};
use sockmap::Sockmap;
use tables::{Listening, TableError, Tables};

use crate::{config, sys};

/// The object that `build.rs` made of lb-ebpf; empty where it was told to skip that.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/sluice-ebpf"));

/// Why the kernel half is not in use.
#[derive(Debug, Error)]
pub enum Unavailable {
    #[error("could not attach to interface `{interface}`")]
    Attach {
        interface: String,
        source: AttachError,
    },
    #[error("could not be loaded")]
    Load(#[from] aya::EbpfError),
    #[error("needs {0}; run as root, or give the binary these capabilities")]
    NotPermitted(capabilities::Missing),
    #[error("was left out of this build; run `cargo xtask setup` and build again")]
    NotBuilt,
    #[error("is switched off by `kernel.mode`")]
    Off,
    #[error(transparent)]
    Pins(#[from] pins::PinError),
    #[error("is not whole: `{0}` is missing from it")]
    Part(&'static str),
    #[error("is without the sockmap path, which {0}")]
    Sockmap(#[source] sockmap::Unavailable),
    #[error("did not take its tables")]
    Tables(#[from] TableError),
}

/// The loaded kernel half; its programs stay attached when this is dropped.
#[derive(Debug)]
pub struct Kernel {
    /// Interfaces it is attached to; later ones are added as they come.
    pub interfaces: Arc<Mutex<Vec<String>>>,
    /// What is not as it was asked for, in sentences.
    pub notes: Vec<String>,
    manner: Manner,
    /// Those of the configuration; none where all count.
    wanted: Option<Vec<String>>,
    /// The interfaces there were at the last look.
    seen: Vec<Interface>,
    /// None where the kernel tells nothing of its routes.
    ways: Option<Watch>,
    /// The sockmap path, where this kernel has it.
    pub sockmap: Option<Arc<Sockmap>>,
    pins: Pins,
    ebpf: Ebpf,
}

/// Loads the kernel half, takes over or makes its pins, and attaches it; `beside` is the process id of
/// a daemon that still carries connections, and whose pins they were.
///
/// # Errors
///
/// The first obstacle; pins that were not there before are removed again. An interface that cannot be
/// attached to is one where `kernel.mode` is "required"; else it goes into the notes.
pub fn load(
    config: &config::Kernel,
    listeners: &[Listening],
    beside: Option<u32>,
) -> Result<(Kernel, Tables), Unavailable> {
    if config.mode == config::KernelMode::Off {
        return Err(Unavailable::Off);
    }
    if OBJECT.is_empty() {
        return Err(Unavailable::NotBuilt);
    }
    capabilities::check().map_err(Unavailable::NotPermitted)?;
    let were_there = Pins::existing(&config.pins).is_some();
    let pins = Pins::prepare(&config.pins, beside)?;
    load_into(pins.clone(), config, listeners, beside).inspect_err(|_| {
        if !were_there && let Err(error) = pins.remove_all() {
            tracing::warn!(%error, "pins of a daemon that did not start are left");
        }
    })
}

fn load_into(
    pins: Pins,
    config: &config::Kernel,
    listeners: &[Listening],
    beside: Option<u32>,
) -> Result<(Kernel, Tables), Unavailable> {
    let mut ebpf = open(config, &pins)?;
    let tables = Tables::take(&mut ebpf, &pins, listeners, beside)?;
    let mut notes = pins.capacity_notes(config)?;
    let mut interfaces = interfaces::wanted(config.interfaces.as_deref());
    load_programs(&mut ebpf, &pins)?;
    let manner = Manner::choose(config.attach, &mut ebpf)?;
    notes.extend(manner.note(config.attach));
    for (interface, error) in attach(&mut ebpf, &pins, &interfaces, manner)? {
        if config.mode == config::KernelMode::Required {
            return Err(Unavailable::Attach {
                interface,
                source: error,
            });
        }
        notes.push(format!("not attached to interface `{interface}`: {error}"));
        interfaces.retain(|attached| *attached != interface);
    }
    let sockmap = match Sockmap::load() {
        Ok(sockmap) => Some(Arc::new(sockmap)),
        Err(unavailable) if config.mode == config::KernelMode::Required => {
            return Err(Unavailable::Sockmap(unavailable));
        }
        Err(unavailable) => {
            notes.push(format!(
                "without the sockmap path, which {}",
                causes(&unavailable)
            ));
            None
        }
    };
    let kernel = Kernel {
        interfaces: Arc::new(Mutex::new(interfaces)),
        notes,
        manner,
        wanted: config.interfaces.clone(),
        seen: Vec::new(),
        ways: Watch::start()
            .inspect_err(|error| tracing::warn!(%error, "cannot follow the routes"))
            .ok(),
        sockmap,
        pins,
        ebpf,
    };
    Ok((kernel, tables))
}

/// An error and what led to it, in one line.
pub fn causes(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line.push_str(": ");
        line.push_str(&error.to_string());
        cause = error.source();
    }
    line
}

fn open(config: &config::Kernel, pins: &Pins) -> Result<Ebpf, Unavailable> {
    let is_debug = log::log_enabled!(target: "sluice_ebpf", log::Level::Debug);
    let level = if is_debug { Level::Debug } else { Level::Info } as u8;
    let mut loader = EbpfLoader::new();
    loader
        .override_global(aya_log::LEVEL, &level, true)
        .map_max_entries(maps::CLIENTS, config.clients_capacity)
        .map_max_entries(maps::STICKY, config.sticky_capacity)
        .map_max_entries(maps::FLOWS, config.clients_capacity.saturating_mul(2));
    for name in maps::PINNED {
        loader.map_pin_path(name, pins.map(name));
    }
    Ok(loader.load(OBJECT)?)
}

fn program<'a>(
    ebpf: &'a mut Ebpf,
    name: &'static str,
) -> Result<&'a mut SchedClassifier, Unavailable> {
    let program = ebpf
        .program_mut(name)
        .and_then(|program| program.try_into().ok());
    program.ok_or(Unavailable::Part(name))
}

fn load_programs(ebpf: &mut Ebpf, pins: &Pins) -> Result<(), Unavailable> {
    for (name, _) in PROGRAMS {
        let program = program(ebpf, name)?;
        program.load().map_err(aya::EbpfError::from)?;
        pins.pin_program(name, program)?;
    }
    let reroute = program(ebpf, maps::REROUTE)?;
    Ok(reroute.load().map_err(aya::EbpfError::from)?)
}

impl Kernel {
    /// Passes what the kernel half logs on to this process's log.
    ///
    /// # Errors
    ///
    /// There is nothing to read it from. The future ends only with an error.
    pub fn log(&mut self) -> io::Result<impl Future<Output = io::Result<()>> + use<>> {
        let logger = EbpfLogger::init(&mut self.ebpf).map_err(io::Error::other)?;
        let mut logger = sys::watch(logger)?;
        Ok(async move {
            loop {
                let mut ready = logger.readable_mut().await?;
                ready.get_inner_mut().flush();
                ready.clear_ready();
            }
        })
    }

    /// The tables, for one who takes long with them.
    ///
    /// # Errors
    ///
    /// Somebody has removed the pins.
    pub fn tables(&self) -> Result<Tables, TableError> {
        Tables::reopen(&self.pins)
    }

    /// What the kernel half tells; to be opened once.
    ///
    /// # Errors
    ///
    /// Somebody has removed the pins, or there is no way to wait.
    pub fn events(&self) -> Result<Events, TableError> {
        Events::open(&self.pins)
    }

    /// Attaches to interfaces that have come, and lets go of those that went.
    pub fn follow_interfaces(&mut self) {
        let there = interfaces::present(self.wanted.as_deref());
        if self.seen == there {
            return;
        }
        let mut names: Vec<String> = there.iter().map(|(name, _)| name.clone()).collect();
        self.seen = there;
        match attach(&mut self.ebpf, &self.pins, &names, self.manner) {
            Ok(failed) => {
                for (interface, error) in &failed {
                    tracing::warn!(interface, %error, "not attached");
                }
                names.retain(|name| failed.iter().all(|(failed, _)| failed != name));
            }
            Err(error) => tracing::warn!(%error, "cannot follow the interfaces"),
        }
        let mut known = self
            .interfaces
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if *known != names {
            tracing::info!(interfaces = ?names, "attached");
            *known = names;
        }
    }

    /// A look at all flows, where ways may have changed since the last one.
    pub fn look_at_ways(&mut self) -> Option<Look<'_>> {
        if !self.ways.as_mut().is_some_and(Watch::is_due) {
            return None;
        }
        match program(&mut self.ebpf, maps::REROUTE) {
            Ok(program) => Some(Look::new(program)),
            Err(error) => {
                tracing::warn!(%error, "cannot follow the routes");
                None
            }
        }
    }
}
