//! A client host, a balancer that splices, and a broker host.

use std::net::{IpAddr, SocketAddr, TcpStream};

use serde_json::Value;

use crate::bpftool::Pins;
use crate::client::Client;
use crate::daemon::Daemon;
use crate::namespace::{AT_BROKERS, BALANCER, BROKER, CLIENT, Place, Topology};
use crate::setup::Setup;
use crate::shape::Shape;
use crate::wire::{Connect, Version};
use crate::{sockets, wait};

const PORT: u16 = 1883;
const ON_LOOPBACK: u16 = 1885;
const COPIED: u16 = 1884;

/// Another listener of the balancer, whose connections are copied.
pub const COPY: &str = r#"
[[listeners]]
name = "copied"
bind = ["10.1.0.2:1884", "[fd01::2]:1884"]
pool = "brokers"
datapath = "copy"
"#;

/// Which addresses everybody has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];

    fn pick(self, addresses: [&str; 2]) -> IpAddr {
        let [v4, v6] = addresses;
        let text = if self == Self::V4 { v4 } else { v6 };
        text.parse().expect("it is an address")
    }

    pub fn client(self) -> IpAddr {
        self.pick(CLIENT)
    }

    /// Where clients connect to.
    pub fn balancer(self) -> SocketAddr {
        (self.pick(BALANCER), PORT).into()
    }

    /// Where the broker sees the balancer.
    pub fn at_brokers(self) -> IpAddr {
        self.pick(AT_BROKERS)
    }

    pub fn loopback(self) -> IpAddr {
        self.pick(["127.0.0.1", "::1"])
    }

    /// Where the broker listens, if it is on a host of its own.
    pub fn broker(self) -> SocketAddr {
        (self.pick(BROKER), PORT).into()
    }
}

/// The three hosts, with a configuration for the balancer.
#[derive(Debug)]
pub struct Bed {
    pub family: Family,
    /// Where the broker listens.
    pub broker: SocketAddr,
    pub topology: Topology,
    pub setup: Setup,
}

impl Bed {
    /// # Errors
    ///
    /// A reason to skip.
    pub fn new(family: Family) -> Result<Self, String> {
        Self::on(Topology::new()?, family)
    }

    /// The same with ends on the balancer's host.
    ///
    /// # Errors
    ///
    /// A reason to skip.
    pub fn at(place: Place, family: Family) -> Result<Self, String> {
        Self::placed(Topology::at(place)?, place, family)
    }

    /// The same on hosts that are joined otherwise.
    ///
    /// # Errors
    ///
    /// A reason to skip.
    pub fn on(topology: Topology, family: Family) -> Result<Self, String> {
        Self::placed(topology, Place::Apart, family)
    }

    /// The same on hosts that are joined otherwise, as long as the ends are in these places.
    ///
    /// # Errors
    ///
    /// A reason to skip.
    pub fn placed(topology: Topology, place: Place, family: Family) -> Result<Self, String> {
        let broker = if place == Place::Loopback {
            (family.loopback(), ON_LOOPBACK).into()
        } else {
            family.broker()
        };
        let interfaces = if place == Place::Apart {
            r#"interfaces = ["clients", "brokers"]"#
        } else {
            r#"interfaces = ["clients", "brokers", "lo"]"#
        };
        let setup = Setup::new()
            .bind(&[family.balancer()])
            .backend("broker", broker)
            .with_kernel(Pins::new()?)
            .kernel(interfaces);
        Ok(Self {
            family,
            broker,
            topology,
            setup,
        })
    }

    /// Starts the balancer.
    pub fn start(&self) -> Daemon {
        self.topology.balancer.run(|| self.setup.start())
    }

    /// Connects from the client host.
    pub fn dial(&self, shape: Shape) -> Client {
        let address = self.family.balancer();
        let stream: TcpStream = self.topology.client.run(|| shape.dial(address));
        Client::over(stream)
    }

    /// Connects from the client host, and expects to be accepted.
    pub fn open(&self, id: &str) -> Client {
        self.introduce(Shape::default(), &Connect::new(Version::V5, id))
    }

    /// Connects from the client host to the listener of [`COPY`], and expects to be accepted.
    pub fn open_copied(&self, id: &str) -> Client {
        self.open_at(COPIED, id)
    }

    /// Connects from the client host to a port of the balancer, and expects to be accepted.
    pub fn open_at(&self, port: u16, id: &str) -> Client {
        let address = (self.family.balancer().ip(), port).into();
        let stream = self.topology.client.run(|| Shape::default().dial(address));
        let mut client = Client::over(stream);
        client.introduce(&Connect::new(Version::V3_1_1, id));
        client
    }

    /// The same with a socket and a CONNECT of the test's choice.
    pub fn introduce(&self, shape: Shape, connect: &Connect) -> Client {
        let mut client = self.dial(shape);
        client.introduce(connect);
        client
    }

    /// The values of `FLOWS`, those from clients or those from brokers, with their keys.
    pub fn flows(&self, from: From) -> Vec<Flow> {
        let all = self.setup.pins().dump("FLOWS").into_iter();
        all.map(|entry| Flow {
            key: entry.key,
            value: entry.value,
        })
        .filter(|flow| flow.from() == from)
        .collect()
    }

    /// Waits until this many connections are in the kernel, and nothing of them in the daemon.
    pub fn until_spliced(&self, count: usize) {
        wait::until("all have left the daemon", || {
            self.setup.pins().dump("LEAVING").is_empty()
                && self.setup.pins().dump("FLOWS").len() == 2 * count
        });
        let left = self.topology.balancer.run(sockets::of_others);
        assert!(left.is_empty(), "the balancer still has {left:#?}");
    }

    /// Waits until no table has a trace of a connection.
    pub fn until_forgotten(&self) {
        for table in ["FLOWS", "LEAVING", "CLIENTS"] {
            wait::until_empty(table, || self.setup.pins().dump(table));
        }
        wait::until("no connection is counted", || {
            self.setup.pins().backend("broker").value["connections"] == 0
        });
    }
}

/// The sender of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    Client,
    Broker,
}

/// An entry of `FLOWS`.
#[derive(Debug, Clone)]
pub struct Flow {
    pub key: Value,
    pub value: Value,
}

impl Flow {
    /// `FLAG_FROM_CLIENT` of lb-common.
    fn from(&self) -> From {
        let is_from_client =
            self.number("flags") & u64::from(lb_common::flow::FLAG_FROM_CLIENT) != 0;
        if is_from_client {
            From::Client
        } else {
            From::Broker
        }
    }

    pub fn number(&self, field: &str) -> u64 {
        let number = self.value[field].as_u64();
        number.unwrap_or_else(|| panic!("{field} of {:?} is no number", self.value))
    }

    /// A number of sequence space.
    pub fn sequence(&self, field: &str) -> u32 {
        u32::try_from(self.number(field)).expect("sequence numbers have 32 bits")
    }
}
