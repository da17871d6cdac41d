//! The sockmap path: clients on another host, a broker on the balancer's loopback.

#![cfg(test)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};

use harness::bad_wire::{BadWire, Habits};
use harness::bed::{Bed, Family};
use harness::bpftool::Pins;
use harness::broker::{self, Broker};
use harness::client::Client;
use harness::daemon::Daemon;
use harness::namespace::{Place, Topology};
use harness::setup::Setup;
use harness::shape::Shape;
use harness::wait::{self, PATIENCE};
use harness::wire::{Connect, Version};

mod bytes;
mod closes;
mod memory;
mod places;

/// `Path::Sockmap` of lb-common.
const SOCKMAP: u8 = lb_common::client::Path::Sockmap as u8;

/// The loopback of a family.
fn loopback(family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::LOCALHOST.into(),
        Family::V6 => Ipv6Addr::LOCALHOST.into(),
    }
}

/// A balancer that is to use the sockmap path, for a broker anywhere.
fn setup(family: Family, broker: SocketAddr) -> Result<Setup, String> {
    Ok(Setup::new()
        .bind(&[family.balancer()])
        .backend("broker", broker)
        .with_kernel(Pins::new()?)
        .kernel(r#"interfaces = ["clients", "lo"]"#)
        .listener(r#"datapath = "sockmap""#))
}

/// A running balancer, and a broker whose connections are in the hands of the test.
struct Ground {
    bed: Bed,
    daemon: Daemon,
    wire: Option<BadWire>,
    accepted: Mutex<Receiver<TcpStream>>,
    _broker: Broker,
}

impl Ground {
    fn new(family: Family) -> Result<Self, String> {
        Self::with(Topology::new()?, None, family, |setup| setup)
    }

    /// The same behind a wire that misbehaves.
    fn behind(family: Family, habits: Habits) -> Result<Self, String> {
        let join = |near: &_, name: &_, far: &_| BadWire::join(near, name, far, habits);
        let (topology, wire) = Topology::joined_by(Place::Apart, join)?;
        Self::with(topology, Some(wire), family, |setup| setup)
    }

    fn with(
        topology: Topology,
        wire: Option<BadWire>,
        family: Family,
        change: impl FnOnce(Setup) -> Setup,
    ) -> Result<Self, String> {
        let address = SocketAddr::new(loopback(family), 1884);
        let listener = topology.balancer.run(|| Shape::default().listen(address));
        let (accept, accepted) = channel();
        let broker = Broker::start_on(listener, move |mut stream| {
            broker::accept(&mut stream);
            // A test that has ended wants no more of them.
            accept.send(stream).unwrap_or_default();
        });
        let mut bed = Bed::on(topology, family)?;
        bed.setup = change(setup(family, address)?);
        Ok(Self {
            daemon: bed.start(),
            bed,
            wire,
            accepted: Mutex::new(accepted),
            _broker: broker,
        })
    }

    fn open(&self, id: &str) -> (Client, TcpStream) {
        let client = self.bed.introduce(Shape::default(), &connect(id));
        (client, self.accepted())
    }

    /// The broker's end of the next connection it has accepted.
    fn accepted(&self) -> TcpStream {
        let accepted = self.accepted.lock().expect("no test has panicked with it");
        accepted
            .recv_timeout(PATIENCE)
            .expect("the broker is asked")
    }

    /// A number that the daemon tells of the sockmap path.
    fn number(&self, field: &str) -> u64 {
        number(&self.daemon, field)
    }

    fn until_forgotten(&self) {
        wait::until("no connection is left", || self.number("connections") == 0);
        self.bed.until_forgotten();
        assert_eq!(self.number("aborted"), 0, "{}", self.daemon.status());
    }
}

fn number(daemon: &Daemon, field: &str) -> u64 {
    let status = daemon.status();
    let number = status["sockmap"][field].as_u64();
    number.unwrap_or_else(|| panic!("no {field} in {status}"))
}

fn connect(id: &str) -> Connect {
    Connect::new(Version::V3_1_1, id)
}

/// Connections whose bytes the kernel moves because the configuration says so.
fn chosen(daemon: &Daemon) -> u64 {
    let status = daemon.status();
    let choices = status["choices"].as_array().expect("there is a list");
    let ours = choices
        .iter()
        .find(|choice| choice["path"] == "sockmap" && choice["because"] == "configured");
    ours.and_then(|choice| choice["count"].as_u64())
        .expect("it is counted")
}
