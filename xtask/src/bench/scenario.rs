//! What is measured: scenarios, and the cases of each.

use std::fmt;

use clap::ValueEnum;

use super::Effort;

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    /// Request and response: messages per second, latency, CPU for each message.
    Rtt,
    /// Long messages, several on their way at a time: throughput.
    Bulk,
    /// CONNECT, CONNACK, DISCONNECT: connections per second, alone and beside 10,000 others.
    Connect,
    /// Request and response, with the broker on the balancer's own host.
    Local,
    /// Connections that say nothing: the memory of each.
    Idle,
    /// One publisher, many subscribers, mosquitto.
    Fanout,
    /// What established clients see while others arrive, at a reload and at a restart.
    Disturb,
    /// TLS that ends in the balancer: handshakes, messages, memory.
    Tls,
    /// What the kernel half costs for a packet, alone; only when it is named.
    Program,
}

/// Where the brokers are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// On a host of their own.
    Remote,
    /// On the balancer's host.
    Local,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Broker {
    StandIn,
    Mosquitto,
}

/// What happens while established clients are watched.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Disturbance {
    Calm,
    /// New clients, a thousand in a second.
    Arrivals,
    Reload,
    Restart,
}

/// What is done over TLS.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum OverTls {
    /// CONNECT, CONNACK, DISCONNECT, after a handshake without a ticket.
    Full,
    /// The same with the ticket of the last one.
    Resumed,
    Messages,
    Idle,
}

/// One case; every contender is measured in it.
#[derive(Clone, Copy)]
pub(crate) struct Cell {
    pub(crate) scenario: Scenario,
    pub(crate) connections: usize,
    /// Of one message; the answer is as long. Nothing in `connect` and `idle`.
    pub(crate) bytes: usize,
    /// Messages on their way at a time, in each connection.
    pub(crate) depth: usize,
    /// Connections that are there already and say nothing.
    pub(crate) held: usize,
    pub(crate) place: Place,
    pub(crate) broker: Broker,
    pub(crate) disturbance: Disturbance,
    /// None is without TLS.
    pub(crate) over_tls: Option<OverTls>,
    pub(crate) rounds: usize,
    pub(crate) warm_up_ms: u64,
    pub(crate) measure_ms: u64,
}

/// A message of `bulk`, and how many are on their way.
const BULK: (usize, usize) = (64 << 10, 8);
/// Clients that connect at a time.
const ARRIVING: usize = 32;
/// Connections that are there before others arrive.
const HELD: usize = 10_000;
/// Subscribers, bytes of a message, messages on their way.
const FANOUT: (usize, usize, usize) = (200, 100, 4);

/// The cases of these scenarios; of all where none is named.
pub(crate) fn cells(wanted: &[Scenario], effort: Effort) -> Vec<Cell> {
    Scenario::value_variants()
        .iter()
        .filter(|scenario| wanted.is_empty() || wanted.contains(scenario))
        .flat_map(|scenario| scenario.cells(effort))
        .collect()
}

impl Scenario {
    fn cells(self, effort: Effort) -> Vec<Cell> {
        match self {
            Self::Rtt => self.rtt(effort),
            Self::Bulk => self.bulk(effort),
            Self::Connect => self.connect(effort),
            Self::Local => self.local(effort),
            Self::Idle => self.idle(effort),
            Self::Fanout => {
                let (subscribers, bytes, depth) = FANOUT;
                vec![Cell {
                    broker: Broker::Mosquitto,
                    ..self.cell(effort, subscribers, bytes, depth)
                }]
            }
            Self::Disturb => self.disturb(effort),
            Self::Tls => self.tls(effort),
            // It is a benchmark of its own, without contenders.
            Self::Program => Vec::new(),
        }
    }

    fn rtt(self, effort: Effort) -> Vec<Cell> {
        let all = |connections: &[usize], sizes: &[usize]| -> Vec<Cell> {
            let cell = |connections, bytes| self.cell(effort, connections, bytes, 1);
            connections
                .iter()
                .flat_map(|connections| sizes.iter().map(|bytes| cell(*connections, *bytes)))
                .collect()
        };
        match effort {
            Effort::Quick => all(&[50], &[2, 1024]),
            Effort::Full => {
                let real = all(&[50], &[64, 1024]).into_iter().map(|cell| Cell {
                    broker: Broker::Mosquitto,
                    ..cell
                });
                let stand_in = all(&[1, 50, 500, 5000], &[2, 64, 1024, 16_384]);
                stand_in.into_iter().chain(real).collect()
            }
        }
    }

    fn bulk(self, effort: Effort) -> Vec<Cell> {
        let (bytes, depth) = BULK;
        let connections: &[usize] = match effort {
            Effort::Quick => &[8],
            Effort::Full => &[1, 8],
        };
        connections
            .iter()
            .map(|connections| self.cell(effort, *connections, bytes, depth))
            .collect()
    }

    fn connect(self, effort: Effort) -> Vec<Cell> {
        let alone = self.cell(effort, ARRIVING, 0, 1);
        let beside_others = Cell {
            held: HELD,
            ..alone
        };
        match effort {
            Effort::Quick => vec![alone],
            Effort::Full => vec![
                alone,
                beside_others,
                Cell {
                    broker: Broker::Mosquitto,
                    ..alone
                },
            ],
        }
    }

    fn local(self, effort: Effort) -> Vec<Cell> {
        let sizes: &[usize] = match effort {
            Effort::Quick => &[64],
            Effort::Full => &[2, 64, 1024, 16_384],
        };
        let cell = |bytes: &usize| Cell {
            place: Place::Local,
            ..self.cell(effort, 50, *bytes, 1)
        };
        sizes.iter().map(cell).collect()
    }

    fn idle(self, effort: Effort) -> Vec<Cell> {
        let counts: &[usize] = match effort {
            Effort::Quick => &[5000],
            Effort::Full => &[1000, 5000, 15_000],
        };
        let cell = |connections: &usize| Cell {
            rounds: 1,
            warm_up_ms: 0,
            measure_ms: 3000,
            ..self.cell(effort, *connections, 0, 1)
        };
        counts.iter().map(cell).collect()
    }

    fn disturb(self, effort: Effort) -> Vec<Cell> {
        let disturbances: &[Disturbance] = match effort {
            Effort::Quick => &[Disturbance::Calm, Disturbance::Restart],
            Effort::Full => &[
                Disturbance::Calm,
                Disturbance::Arrivals,
                Disturbance::Reload,
                Disturbance::Restart,
            ],
        };
        let cell = |disturbance: &Disturbance| Cell {
            disturbance: *disturbance,
            rounds: 3,
            measure_ms: 2000,
            ..self.cell(effort, 100, 64, 1)
        };
        disturbances.iter().map(cell).collect()
    }

    fn tls(self, effort: Effort) -> Vec<Cell> {
        let cell = |over_tls, connections, bytes| Cell {
            over_tls: Some(over_tls),
            ..self.cell(effort, connections, bytes, 1)
        };
        let full = cell(OverTls::Full, ARRIVING, 0);
        let messages = cell(OverTls::Messages, 50, 64);
        match effort {
            Effort::Quick => vec![full, messages],
            Effort::Full => vec![
                full,
                cell(OverTls::Resumed, ARRIVING, 0),
                messages,
                cell(OverTls::Messages, 50, 1024),
                Cell {
                    rounds: 1,
                    warm_up_ms: 0,
                    measure_ms: 3000,
                    ..cell(OverTls::Idle, 2000, 0)
                },
            ],
        }
    }

    fn cell(self, effort: Effort, connections: usize, bytes: usize, depth: usize) -> Cell {
        let (rounds, warm_up_ms, measure_ms) = match effort {
            Effort::Quick => (3, 200, 600),
            Effort::Full => (5, 300, 1000),
        };
        Cell {
            scenario: self,
            connections,
            bytes,
            depth,
            held: 0,
            place: Place::Remote,
            broker: Broker::StandIn,
            disturbance: Disturbance::Calm,
            over_tls: None,
            rounds,
            warm_up_ms,
            measure_ms,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Rtt => "rtt",
            Self::Bulk => "bulk",
            Self::Connect => "connect",
            Self::Local => "local",
            Self::Idle => "idle",
            Self::Fanout => "fanout",
            Self::Disturb => "disturb",
            Self::Tls => "tls",
            Self::Program => "program",
        }
    }
}

impl Disturbance {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Calm => "nothing else happens",
            Self::Arrivals => "1,000 clients connect in a second",
            Self::Reload => "the configuration is reloaded",
            Self::Restart => "the balancer is restarted",
        }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            scenario,
            connections,
            bytes,
            depth,
            ..
        } = self;
        match scenario {
            Scenario::Rtt | Scenario::Local => {
                write!(
                    f,
                    "{}: {connections} connections × {bytes} B",
                    scenario.name()
                )?;
            }
            Scenario::Bulk => write!(
                f,
                "bulk: {connections} connections × {depth} messages of {} kB on their way",
                bytes >> 10
            )?,
            Scenario::Connect => write!(f, "connect: {connections} clients at a time")?,
            Scenario::Idle => write!(f, "idle: {connections} connections")?,
            Scenario::Fanout => write!(f, "fanout: {connections} subscribers × {bytes} B")?,
            Scenario::Disturb => write!(
                f,
                "disturb: {connections} connections × {bytes} B while {}",
                self.disturbance.name()
            )?,
            Scenario::Tls => match self.over_tls {
                Some(OverTls::Full) => {
                    write!(f, "tls: {connections} clients at a time, full handshakes")?;
                }
                Some(OverTls::Resumed) => {
                    write!(f, "tls: {connections} clients at a time, with tickets")?;
                }
                Some(OverTls::Messages) => {
                    write!(f, "tls: {connections} connections × {bytes} B")?;
                }
                Some(OverTls::Idle) | None => write!(f, "tls: {connections} idle connections")?,
            },
            Scenario::Program => f.write_str(scenario.name())?,
        }
        if self.held > 0 {
            write!(f, ", beside {} others", self.held)?;
        }
        if self.broker == Broker::Mosquitto {
            f.write_str(", mosquitto")?;
        }
        Ok(())
    }
}
