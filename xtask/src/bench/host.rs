//! Hosts that are network namespaces; they are gone with the last process in them.

use std::fs::{self, File};
use std::os::fd::AsRawFd as _;
use std::process::{Command, id};
use std::thread;

use anyhow::{Context as _, Result, bail};
use nix::sched::{CloneFlags, setns, unshare};

/// A host with nothing but a loopback.
pub(super) struct Host(File);

impl Host {
    pub(super) fn new() -> Result<Self> {
        let made = thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).context("cannot make a network namespace")?;
            let namespace = File::open("/proc/thread-self/ns/net");
            namespace.context("cannot open a network namespace")
        });
        let host = Self(made.join().unwrap_or_else(|_| bail!("a thread panicked"))?);
        host.ip("link set lo up")?;
        Ok(host)
    }

    /// Runs `work` in a thread on this host; the processes that it starts stay there.
    pub(super) fn run<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        thread::scope(|scope| {
            let worker = scope.spawn(|| {
                setns(&self.0, CloneFlags::CLONE_NEWNET)
                    .context("cannot enter a network namespace")?;
                work()
            });
            let outcome = worker.join();
            outcome.unwrap_or_else(|_| bail!("a thread panicked"))
        })
    }

    /// Runs ip(8) with these words.
    pub(super) fn ip(&self, words: &str) -> Result<()> {
        self.run(|| {
            let output = Command::new("ip")
                .args(words.split(' '))
                .output()
                .context("cannot start ip")?;
            if !output.status.success() {
                let said = String::from_utf8_lossy(&output.stderr);
                bail!("ip {words}: {}", said.trim_end());
            }
            Ok(())
        })
    }

    /// Sets a parameter of sysctl(8), of those that each network has of its own.
    pub(super) fn sysctl(&self, name: &str, value: &str) -> Result<()> {
        let path = format!("/proc/sys/{}", name.replace('.', "/"));
        self.run(|| fs::write(&path, value).with_context(|| format!("cannot set {name}")))
    }

    /// Joins two hosts by a cable whose ends have these names and addresses.
    pub(super) fn join(&self, near: End<'_>, far_host: &Self, far: End<'_>) -> Result<()> {
        let namespace = format!("/proc/{}/fd/{}", id(), far_host.0.as_raw_fd());
        self.ip(&format!(
            "link add {} type veth peer name {} netns {namespace}",
            near.name, far.name
        ))?;
        self.bring_up(near)?;
        far_host.bring_up(far)
    }

    fn bring_up(&self, end: End<'_>) -> Result<()> {
        for address in end.addresses {
            self.ip(&format!("addr add {address}/24 dev {}", end.name))?;
        }
        self.ip(&format!("link set {} up", end.name))
    }
}

/// One end of a cable.
#[derive(Clone, Copy)]
pub(super) struct End<'a> {
    pub(super) name: &'a str,
    pub(super) addresses: &'a [&'a str],
}
