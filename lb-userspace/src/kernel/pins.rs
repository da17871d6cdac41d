//! What is pinned, and where: maps, programs and links below one directory of a bpf file system.

use std::ffi::OsStr;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::{fs, io};

use aya::maps::MapData;
use aya::programs::{SchedClassifier, TcAttachType};
use lb_common::about::About;
use lb_common::flow::{Flow, FlowKey};
use lb_common::{LAYOUT, maps};
use nix::mount::{MsFlags, mount};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};
use nix::unistd::geteuid;

mod error;
mod place;

use super::filters;
pub use error::PinError;
use place::{HOOKS, place, placed};

/// Where a bpf file system is mounted on a host that is set up as usual.
const USUAL_MOUNT: &str = "/sys/fs/bpf";

/// The directory of the configuration.
#[derive(Debug, Clone)]
pub struct Pins(PathBuf);

impl Pins {
    /// Makes the directories where they are missing, and refuses pins of another layout.
    pub(super) fn prepare(root: &Path, beside: Option<u32>) -> Result<Self, PinError> {
        let parent = root.parent().unwrap_or(root);
        if parent == Path::new(USUAL_MOUNT) && !is_bpf(parent) {
            // systemd does this at boot; containers and small systems often do not.
            mount(
                Some("bpf"),
                parent,
                Some("bpf"),
                MsFlags::empty(),
                Some("mode=700"),
            )
            .map_err(|errno| file(parent, "could not mount a bpf file system")(errno.into()))?;
        }
        if !is_bpf(parent) {
            return Err(PinError::NotBpf {
                path: root.to_owned(),
            });
        }
        let pins = Self(root.to_owned());
        let parts = [pins.maps(), pins.programs(), pins.links(), pins.filters()];
        for directory in [root.to_owned()].iter().chain(&parts) {
            make(directory)?;
        }
        pins.check_layout()?;
        if let Some(pid) = pins.owner().filter(|pid| Some(*pid) != beside) {
            return Err(PinError::InUse { path: pins.0, pid });
        }
        Ok(pins)
    }

    /// Pins that are there already, to remove them.
    pub fn existing(root: &Path) -> Option<Self> {
        root.is_dir().then(|| Self(root.to_owned()))
    }

    /// Says so where a table keeps another size than the one that is configured.
    pub(super) fn capacity_notes(
        &self,
        config: &crate::config::Kernel,
    ) -> Result<Vec<String>, PinError> {
        let notes = [
            self.capacity_note(maps::CLIENTS, "clients_capacity", config.clients_capacity)?,
            self.capacity_note(maps::STICKY, "sticky_capacity", config.sticky_capacity)?,
        ];
        Ok(notes.into_iter().flatten().collect())
    }

    fn capacity_note(
        &self,
        map: &str,
        key: &str,
        configured: u32,
    ) -> Result<Option<String>, PinError> {
        let path = self.map(map);
        let read = |source| PinError::Read {
            path: path.clone(),
            source,
        };
        let info = MapData::from_pin(&path)
            .map_err(read)?
            .info()
            .map_err(read)?;
        let there = info.max_entries();
        Ok((there != configured).then(|| {
            format!("kernel.{key} stays {there} until the pins are removed with `sluice detach`")
        }))
    }

    /// The daemon that uses these pins, if it still runs.
    pub fn owner(&self) -> Option<u32> {
        let about = MapData::from_pin(self.map(maps::ABOUT)).ok()?;
        let about = aya::maps::Array::<_, About>::try_from(aya::maps::Map::Array(about)).ok()?;
        let pid = about.get(&0, 0).ok()?.pid;
        (is_running(pid) && pid != std::process::id()).then_some(pid)
    }

    /// Connections that are in the kernel, and that a removal of the pins cuts.
    pub fn connections(&self) -> usize {
        let Ok(flows) = MapData::from_pin(self.map(maps::FLOWS)) else {
            return 0;
        };
        let flows =
            aya::maps::HashMap::<_, FlowKey, Flow>::try_from(aya::maps::Map::HashMap(flows));
        flows.map_or(0, |flows| flows.keys().filter_map(Result::ok).count() / 2)
    }

    fn maps(&self) -> PathBuf {
        self.0.join("maps")
    }

    fn programs(&self) -> PathBuf {
        self.0.join("progs")
    }

    fn links(&self) -> PathBuf {
        self.0.join("links")
    }

    fn filters(&self) -> PathBuf {
        self.0.join("filters")
    }

    pub(super) fn root(&self) -> &Path {
        &self.0
    }

    pub(super) fn map(&self, name: &str) -> PathBuf {
        self.maps().join(name)
    }

    pub(super) fn link(&self, interface: &str, hook: TcAttachType) -> PathBuf {
        self.links().join(place(interface, hook))
    }

    /// What marks a filter that cannot be pinned itself.
    pub(super) fn filter(&self, interface: &str, hook: TcAttachType) -> PathBuf {
        self.filters().join(place(interface, hook))
    }

    fn check_layout(&self) -> Result<(), PinError> {
        let path = self.map(maps::ABOUT);
        if !path.exists() {
            return Ok(());
        }
        let read = |source| PinError::Read {
            path: path.clone(),
            source,
        };
        let about = MapData::from_pin(&path).map_err(read)?;
        let about = aya::maps::Array::<_, About>::try_from(aya::maps::Map::Array(about));
        let found = match about.map_err(read)?.get(&0, 0) {
            // A daemon that ended between making the map and writing to it.
            Ok(about) if about.layout == 0 => LAYOUT,
            Ok(about) => about.layout,
            Err(source) => return Err(read(source)),
        };
        if found == LAYOUT {
            return Ok(());
        }
        Err(PinError::Layout {
            path: self.0.clone(),
            found,
        })
    }

    /// Pins a program in the place of one with the same name.
    pub(super) fn pin_program(
        &self,
        name: &str,
        program: &mut SchedClassifier,
    ) -> Result<(), PinError> {
        let path = self.programs().join(name);
        remove(&path)?;
        program.pin(&path).map_err(|error| PinError::Pin {
            path,
            source: error.into(),
        })
    }

    /// Detaches from interfaces that are no longer wanted.
    pub(super) fn forget_links_except(&self, interfaces: &[String]) -> Result<(), PinError> {
        let wanted: Vec<PathBuf> = interfaces
            .iter()
            .flat_map(|name| HOOKS.map(|(hook, _)| self.link(name, hook)))
            .collect();
        for link in list(&self.links())? {
            if !wanted.contains(&link) {
                remove(&link)?;
            }
        }
        Ok(())
    }

    /// Removes filters from interfaces that are no longer wanted.
    pub(super) fn forget_filters_except(&self, interfaces: &[String]) -> Result<(), PinError> {
        for mark in list(&self.filters())? {
            let place = mark.file_name().and_then(OsStr::to_str).and_then(placed);
            if let Some((interface, hook)) = place {
                if interfaces.contains(&interface) {
                    continue;
                }
                filters::remove(self, &interface, hook);
            }
            remove(&mark)?;
        }
        Ok(())
    }

    /// Removes everything; a link without its pin and its process detaches.
    ///
    /// # Errors
    ///
    /// The first file that could not be removed.
    pub fn remove_all(&self) -> Result<(), PinError> {
        self.forget_filters_except(&[])?;
        let parts = [self.links(), self.filters(), self.programs(), self.maps()];
        for directory in parts {
            for pin in list(&directory)? {
                remove(&pin)?;
            }
            remove_directory(&directory)?;
        }
        remove_directory(&self.0)
    }
}

/// Whether there is a daemon of this process id.
pub fn is_running(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| is_running_sluice(&stat))
}

/// Whether a line of proc_pid_stat(5) is that of a daemon; one that nobody has waited for is dead.
fn is_running_sluice(stat: &str) -> bool {
    let behind_pid = stat.split_once(' ').map_or("", |(_, rest)| rest);
    let state = behind_pid.strip_prefix("(sluice) ");
    state.is_some_and(|state| !state.starts_with(['X', 'Z']))
}

fn is_bpf(path: &Path) -> bool {
    statfs(path).is_ok_and(|found| found.filesystem_type() == BPF_FS_MAGIC)
}

fn file(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> PinError {
    let path = path.to_owned();
    move |source| PinError::File {
        path,
        action,
        source,
    }
}

/// Client ids are nobody's business but ours, and nobody else's pins are adopted.
fn make(directory: &Path) -> Result<(), PinError> {
    match fs::DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(file(directory, "could not make the directory")(error));
        }
        Ok(()) | Err(_) => {}
    }
    let there = fs::symlink_metadata(directory).map_err(file(directory, "could not look at"))?;
    if there.uid() != geteuid().as_raw() || !there.is_dir() {
        return Err(PinError::Owner {
            path: directory.to_owned(),
            owner: there.uid(),
        });
    }
    Ok(())
}

fn list(directory: &Path) -> Result<Vec<PathBuf>, PinError> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(file(directory, "could not list"))?,
    };
    entries
        .map(|entry| Ok(entry.map_err(file(directory, "could not list"))?.path()))
        .collect()
}

/// Removes a pin; it is no error that there is none.
pub(super) fn remove(pin: &Path) -> Result<(), PinError> {
    match fs::remove_file(pin) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(file(pin, "could not remove")(error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

fn remove_directory(directory: &Path) -> Result<(), PinError> {
    match fs::remove_dir(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(file(directory, "could not remove")(error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::is_running_sluice;

    #[test]
    fn tells_a_daemon_from_its_remains_and_from_others() {
        assert!(is_running_sluice("17 (sluice) S 1 17 17 0"));
        assert!(!is_running_sluice("17 (sluice) Z 1 17 17 0"));
        assert!(!is_running_sluice("17 (mosquitto) S 1 17 17 0"));
        assert!(!is_running_sluice(""));
    }
}
