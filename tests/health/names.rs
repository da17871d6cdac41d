//! Brokers that are found by a DNS name, with a name service of the test's own.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use harness::client::Client;
use harness::echo::Echo;
use harness::setup::Setup;
use harness::wait;
use harness::wire::{Connect, Version};
use harness::{mounts, need, ports};
use nix::mount::{MsFlags, mount};
use tempfile::TempDir;

use super::checked;

const NAME: &str = "broker.sluice.test";

/// What this thread, and what it starts from now on, finds behind `NAME`; nothing at first.
struct Hosts {
    file: PathBuf,
    _directory: TempDir,
}

impl Hosts {
    fn enter() -> Result<Self, String> {
        mounts::enter_new()?;
        let directory = TempDir::with_prefix("sluice-hosts-").expect("there is room");
        let file = directory.path().join("hosts");
        fs::write(&file, "").expect("there is room");
        cover(Path::new("/etc/hosts"), &file)?;
        // Nobody else is asked: the refusal comes at once.
        let resolver = directory.path().join("resolv.conf");
        fs::write(
            &resolver,
            "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n",
        )
        .expect("there is room");
        cover(Path::new("/etc/resolv.conf"), &resolver)?;
        Ok(Self {
            file,
            _directory: directory,
        })
    }

    fn lead_to(&self, addresses: &[IpAddr]) {
        let line = |address: &IpAddr| format!("{address} {NAME}\n");
        let text: String = addresses.iter().map(line).collect();
        fs::write(&self.file, text).expect("there is room");
    }
}

fn cover(file: &Path, by: &Path) -> Result<(), String> {
    const NOTHING: Option<&str> = None;
    mount(Some(by), file, NOTHING, MsFlags::MS_BIND, NOTHING)
        .map_err(|errno| format!("needs {} to mount over: {errno}", file.display()))
}

fn named(port: u16) -> Setup {
    checked("tcp")
        .pool(r#"dns_interval = "50ms""#)
        .more(&format!(
            "[[pools.backends]]\nname = \"named\"\naddress = \"{NAME}:{port}\"\n"
        ))
}

fn at(last: u8) -> IpAddr {
    Ipv4Addr::new(127, 0, 0, last).into()
}

#[test]
fn a_broker_without_an_address_is_down_until_it_has_one() {
    let hosts = need!(Hosts::enter());
    let echo = Echo::start();
    let daemon = named(echo.address.port()).start();
    assert_eq!(daemon.backend("named")["state"], "down");
    assert_eq!(
        daemon.backend("named")["trouble"],
        "its name has no address yet"
    );

    hosts.lead_to(&[at(1)]);
    daemon.until_backend_is("named", "up");
    Client::open(daemon.address(), &Connect::new(Version::V5, "patient"));
    assert_eq!(daemon.backend("named")["address"], echo.address.to_string());
}

#[test]
fn a_reload_takes_a_broker_without_an_address_as_a_start_does() {
    let hosts = need!(Hosts::enter());
    let echo = Echo::start();
    let setup = checked("tcp").backend("plain", echo.address);
    let daemon = setup.start();

    let line = format!("address = \"{NAME}:{}\"", echo.address.port());
    let named = format!("\n[[pools.backends]]\nname = \"named\"\n{line}\n");
    setup.write_text(&(setup.config() + &named));
    let told = daemon.reload();
    assert!(told.contains("named"), "{told}");
    assert_eq!(daemon.backend("named")["state"], "down");
    assert_eq!(
        daemon.backend("named")["trouble"],
        "its name has no address yet"
    );
    assert!(daemon.log().contains("no address yet"));

    hosts.lead_to(&[at(1)]);
    daemon.until_backend_is("named", "up");
}

#[test]
fn a_broker_is_followed_to_its_new_address_and_kept_at_its_last() {
    let hosts = need!(Hosts::enter());
    let port = ports::free();
    let _echoes = [1, 2].map(|last| Echo::start_at(SocketAddr::new(at(last), port)));
    hosts.lead_to(&[at(1)]);
    let daemon = named(port).start();
    let is_at =
        |last| daemon.backend("named")["address"] == SocketAddr::new(at(last), port).to_string();
    let open = |id| Client::open(daemon.address(), &Connect::new(Version::V5, id));
    let mut early = open("early");
    assert!(is_at(1));

    hosts.lead_to(&[at(2)]);
    wait::until("it has moved", || is_at(2));
    daemon.until_backend_is("named", "up");
    let mut late = open("late");
    // Several addresses come in any order: it stays at the one it has.
    hosts.lead_to(&[at(1), at(2)]);
    hosts.lead_to(&[]);
    wait::until("the name is missed", || {
        daemon.log().contains("keeps its last address")
    });

    assert!(is_at(2));
    assert_eq!(daemon.backend("named")["state"], "up");
    for client in [&mut early, &mut late, &mut open("last")] {
        client.send(b"hello");
        assert_eq!(client.bytes(5), b"hello");
    }
}
