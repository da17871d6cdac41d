//! Networks of a test's own; they are gone with the last thread and process in them.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::AsRawFd as _;
use std::process::Command;
use std::thread;
use std::time::Duration;

use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::{process, wait};

/// How long a neighbour may take to answer.
const A_MOMENT: Duration = Duration::from_millis(50);

/// Moves this thread, and what it starts from now on, to a network with nothing but a loopback.
///
/// # Errors
///
/// A reason to skip.
pub fn enter_new() -> Result<(), String> {
    process::root()?;
    process::installed("ip")?;
    unshare(CloneFlags::CLONE_NEWNET)
        .map_err(|errno| format!("needs network namespaces: {errno}"))?;
    ip(&["link", "set", "lo", "up"]);
    Ok(())
}

/// Processes on the network of this thread, that of the test not among them.
pub fn processes() -> Vec<Pid> {
    let ours = fs::read_link("/proc/thread-self/ns/net").expect("a thread has a network");
    let all = fs::read_dir("/proc").expect("there is a /proc").flatten();
    all.filter_map(|process| process.file_name().to_str()?.parse::<u32>().ok())
        .filter(|id| *id != std::process::id())
        .filter(|id| fs::read_link(format!("/proc/{id}/ns/net")).is_ok_and(|net| net == ours))
        .map(|id| Pid::from_raw(id.cast_signed()))
        .collect()
}

/// Kills what a test has left on a network of its own; on that of the machine, nothing.
pub fn kill_processes() {
    let net = |of: &str| fs::read_link(format!("/proc/{of}/ns/net")).ok();
    if net("thread-self") == net("self") {
        return;
    }
    for process in processes() {
        // It may have ended by itself since.
        kill(process, Signal::SIGKILL).ok();
    }
}

/// A host that is a network namespace.
#[derive(Debug)]
pub struct Host(File);

impl Host {
    /// A host with nothing but a loopback.
    ///
    /// # Errors
    ///
    /// A reason to skip.
    pub fn new() -> Result<Self, String> {
        let made = thread::spawn(|| {
            enter_new()?;
            Ok(Self(
                File::open("/proc/thread-self/ns/net").expect("a thread has a network"),
            ))
        });
        made.join().expect("making a namespace does not panic")
    }

    fn again(&self) -> Self {
        Self(self.0.try_clone().expect("there are descriptors"))
    }

    /// Runs `work` in a thread on this host.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let worker = scope.spawn(|| {
                setns(&self.0, CloneFlags::CLONE_NEWNET).expect("root may enter a namespace");
                work()
            });
            worker
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Waits until packets to a neighbour arrive; the kernel takes its time with IPv6.
    fn until_reaches(&self, neighbour: &str) {
        // Nobody listens there, and the refusal is the answer.
        let closed = SocketAddr::new(neighbour.parse().expect("it is an address"), 9);
        self.run(|| {
            wait::until("a neighbour answers", || {
                TcpStream::connect_timeout(&closed, A_MOMENT)
                    .is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
            });
        });
    }

    /// Where other processes find the namespace.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }

    /// Runs ip(8) on this host.
    pub fn ip(&self, arguments: &[&str]) {
        self.run(|| ip(arguments));
    }

    /// Sets a parameter of sysctl(8), of those that each network has of its own.
    pub fn sysctl(&self, name: &str, value: &str) {
        let path = format!("/proc/sys/{}", name.replace('.', "/"));
        self.run(|| fs::write(&path, value).unwrap_or_else(|error| panic!("{name}: {error}")));
    }

    /// Gives an interface its addresses and switches it on.
    pub fn add(&self, interface: &str, addresses: &[IpAddr]) {
        self.run(|| {
            for address in addresses {
                let bits = if address.is_ipv4() { "24" } else { "64" };
                let mut arguments = vec!["addr", "add"];
                let address = format!("{address}/{bits}");
                arguments.extend([address.as_str(), "dev", interface]);
                if address.contains(':') {
                    arguments.push("nodad");
                }
                ip(&arguments);
            }
            ip(&["link", "set", interface, "up"]);
        });
    }
}

/// Client, balancer and broker, each a host; the balancer has a link to each of the others.
#[derive(Debug)]
pub struct Topology {
    pub client: Host,
    pub balancer: Host,
    pub broker: Host,
}

/// Addresses of the client.
pub const CLIENT: [&str; 2] = ["10.1.0.1", "fd01::1"];
/// Addresses of the balancer where clients see it.
pub const BALANCER: [&str; 2] = ["10.1.0.2", "fd01::2"];
/// Addresses of the balancer where brokers see it.
pub const AT_BROKERS: [&str; 2] = ["10.2.0.1", "fd02::1"];
/// Addresses of the broker.
pub const BROKER: [&str; 2] = ["10.2.0.2", "fd02::2"];

/// Which ends are on the balancer's own host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// None: three hosts.
    Apart,
    /// The broker, on the loopback.
    Loopback,
    /// The broker, on an address of another interface.
    BrokerHere,
    /// The client.
    ClientHere,
    /// Client and broker.
    AllHere,
}

impl Place {
    fn has_client(self) -> bool {
        matches!(self, Self::ClientHere | Self::AllHere)
    }

    pub fn has_broker(self) -> bool {
        matches!(self, Self::Loopback | Self::BrokerHere | Self::AllHere)
    }
}

impl Topology {
    /// # Errors
    ///
    /// A reason to skip.
    pub fn new() -> Result<Self, String> {
        Self::at(Place::Apart)
    }

    /// The same with ends on the balancer's host: they have the same addresses there.
    ///
    /// # Errors
    ///
    /// A reason to skip.
    pub fn at(place: Place) -> Result<Self, String> {
        Self::joined_by(place, |near, name, far| {
            veth(near, name, far);
            Ok(())
        })
        .map(|(topology, ())| topology)
    }

    /// The same with the clients behind a wire of the test's making: it has an interface of the
    /// given name at the near host, and one called `uplink` at the far host.
    ///
    /// # Errors
    ///
    /// A reason to skip.
    pub fn joined_by<T>(
        place: Place,
        make: impl FnOnce(&Host, &str, &Host) -> Result<T, String>,
    ) -> Result<(Self, T), String> {
        let balancer = Host::new()?;
        let host = |is_here: bool| {
            if is_here {
                Ok(balancer.again())
            } else {
                Host::new()
            }
        };
        let topology = Self {
            client: host(place.has_client())?,
            broker: host(place.has_broker())?,
            balancer,
        };
        let Self {
            client,
            balancer,
            broker,
        } = &topology;
        let wire = make(balancer, "clients", client)?;
        addresses(balancer, "clients", client, [CLIENT, BALANCER]);
        if place.has_broker() {
            // Addresses of a host are all the same to it; these are on the interface of a bridge.
            balancer.ip(&["link", "add", "brokers", "type", "bridge"]);
            let parse = |text: &str| text.parse().expect("it is an address");
            balancer.add(
                "brokers",
                &[BROKER, AT_BROKERS]
                    .as_flattened()
                    .iter()
                    .map(|text| parse(text))
                    .collect::<Vec<_>>(),
            );
        } else {
            veth(balancer, "brokers", broker);
            addresses(balancer, "brokers", broker, [BROKER, AT_BROKERS]);
        }
        client.until_reaches(BALANCER[1]);
        balancer.until_reaches(BROKER[1]);
        Ok((topology, wire))
    }
}

impl Topology {
    /// Takes the link to the broker away and makes another in its place, with the same addresses.
    pub fn rejoin_broker(&self) {
        self.balancer.ip(&["link", "del", "brokers"]);
        veth(&self.balancer, "brokers", &self.broker);
        let both = [BROKER, AT_BROKERS];
        addresses(&self.balancer, "brokers", &self.broker, both);
        self.balancer.until_reaches(BROKER[1]);
    }
}

/// Joins `near` and `far`; the interface is called `name` near, `uplink` far.
fn veth(near: &Host, name: &str, far: &Host) {
    let far = far.path();
    near.ip(&[
        "link", "add", name, "type", "veth", "peer", "name", "uplink", "netns", &far,
    ]);
}

fn addresses(near: &Host, name: &str, far: &Host, [theirs, ours]: [[&str; 2]; 2]) {
    let parse = |text: &str| text.parse().expect("it is an address");
    near.add(name, &ours.map(parse));
    far.add("uplink", &theirs.map(parse));
}

/// Runs ip(8) on the network of this thread.
pub fn ip(arguments: &[&str]) {
    let output = Command::new("ip")
        .args(arguments)
        .output()
        .expect("ip is there");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {arguments:?}: {said}");
}
