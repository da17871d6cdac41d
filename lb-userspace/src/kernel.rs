//! The kernel half: loaded, attached and pinned, or a reason why not.
//!
//! Everything pinned stays when the daemon ends, and is taken over by the next; `sluice detach`
//! removes it. Nothing outside this module names aya.

use std::net::SocketAddr;

use aya::programs::links::{FdLink, LinkError, PinnedLink};
use aya::programs::{SchedClassifier, TcAttachType};
use aya::{Ebpf, EbpfLoader};
use aya_log::{EbpfLogger, Level};
use lb_common::maps;
use thiserror::Error;

pub mod capabilities;
pub mod interfaces;
pub mod pins;
pub mod tables;

use pins::Pins;
use tables::Tables;

use crate::{config, sys};

/// The object that `build.rs` made of lb-ebpf; empty where it was told to skip that.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/sluice-ebpf"));

/// Why the kernel half is not in use.
#[derive(Debug, Error)]
pub enum Unavailable {
    #[error("could not attach to interface `{interface}`")]
    Attach {
        interface: String,
        source: Box<dyn std::error::Error + Send + Sync>,
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
    #[error("did not take its tables")]
    Tables(#[from] tables::TableError),
}

/// The loaded kernel half; its programs stay attached when this is dropped.
#[derive(Debug)]
pub struct Kernel {
    /// Interfaces it is attached to.
    pub interfaces: Vec<String>,
    ebpf: Ebpf,
}

/// Loads the kernel half, takes over or makes its pins, and attaches it.
///
/// # Errors
///
/// The first obstacle; what was pinned before is left as it was.
pub fn load(
    config: &config::Kernel,
    listeners: &[SocketAddr],
) -> Result<(Kernel, Tables), Unavailable> {
    if config.mode == config::KernelMode::Off {
        return Err(Unavailable::Off);
    }
    if OBJECT.is_empty() {
        return Err(Unavailable::NotBuilt);
    }
    capabilities::check().map_err(Unavailable::NotPermitted)?;
    let pins = Pins::prepare(&config.pins)?;

    let mut ebpf = open(config, &pins)?;
    let tables = Tables::take(&mut ebpf, listeners)?;
    let interfaces = interfaces::wanted(config.interfaces.as_deref());
    attach(&mut ebpf, &pins, &interfaces)?;
    Ok((Kernel { interfaces, ebpf }, tables))
}

fn open(config: &config::Kernel, pins: &Pins) -> Result<Ebpf, Unavailable> {
    let log_level: u8 = if log::log_enabled!(log::Level::Debug) {
        Level::Debug as u8
    } else {
        Level::Info as u8
    };
    let mut loader = EbpfLoader::new();
    loader
        .override_global(aya_log::LEVEL, &log_level, true)
        .map_max_entries(maps::CLIENTS, config.clients_capacity);
    for name in maps::PINNED {
        loader.map_pin_path(name, pins.map(name));
    }
    Ok(loader.load(OBJECT)?)
}

/// Puts the program on every interface, in the place of the one a former daemon left there.
fn attach(ebpf: &mut Ebpf, pins: &Pins, interfaces: &[String]) -> Result<(), Unavailable> {
    let program: &mut SchedClassifier = ebpf
        .program_mut(maps::INGRESS)
        .and_then(|program| program.try_into().ok())
        .ok_or(Unavailable::Part(maps::INGRESS))?;
    program.load().map_err(aya::EbpfError::from)?;
    pins.pin_program(maps::INGRESS, program)?;
    for interface in interfaces {
        attach_one(program, pins, interface).map_err(|source| Unavailable::Attach {
            interface: interface.clone(),
            source,
        })?;
    }
    pins.forget_links_except(interfaces)?;
    Ok(())
}

fn attach_one(
    program: &mut SchedClassifier,
    pins: &Pins,
    interface: &str,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let pin = pins.link(interface);
    if let Some(link) = pinned_link(&pin)?
        && program
            .attach_to_link(FdLink::from(link).try_into()?)
            .is_ok()
    {
        return Ok(());
    }
    // There was none, or the interface it was on is gone.
    pins::remove(&pin)?;
    let link = program.attach(interface, TcAttachType::Ingress)?;
    let link: FdLink = program.take_link(link)?.try_into()?;
    link.pin(&pin)?;
    Ok(())
}

fn pinned_link(pin: &std::path::Path) -> Result<Option<PinnedLink>, LinkError> {
    match PinnedLink::from_pin(pin) {
        Ok(link) => Ok(Some(link)),
        Err(LinkError::SyscallError(error)) if is_not_found(&error.io_error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_not_found(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::NotFound
}

impl Kernel {
    /// Passes what the kernel half logs on to this process's log; ends only with an error.
    pub async fn log_forever(mut self) -> std::io::Result<()> {
        let logger = EbpfLogger::init(&mut self.ebpf).map_err(std::io::Error::other)?;
        let mut logger = sys::watch(logger)?;
        loop {
            let mut ready = logger.readable_mut().await?;
            ready.get_inner_mut().flush();
            ready.clear_ready();
        }
    }
}
