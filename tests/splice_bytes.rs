//! Every byte exactly once and in order, whatever the wire does and whatever the ends agree on.

#![cfg(test)]

use std::net::TcpStream;
use std::sync::Arc;
use std::thread;

use harness::bad_wire::{BadWire, Habits};
use harness::bed::{Bed, Family, From};
use harness::broker::{self, Broker};
use harness::client::Client;
use harness::meeting::{Gate, Guest, Meeting};
use harness::namespace::Topology;
use harness::need;
use harness::shape::Shape;
use harness::stream::{LONGEST, Stream, expect_end};
use harness::wire::{self, Connect, Version};

/// What the two ends of a bed are like, and what is asked of it.
#[derive(Debug, Clone, Copy)]
struct Case {
    wire: Option<Habits>,
    /// Parameters of sysctl(8) and of sockets: the client's and the broker's.
    sysctls: [&'static [(&'static str, &'static str)]; 2],
    shapes: [Shape; 2],
    /// Of the links to the client and to the broker.
    mtu: [u16; 2],
    connections: u64,
    /// In each direction of each connection.
    bytes: usize,
    writes: &'static [usize],
    /// Nobody reads before the other side is held back.
    stalls: bool,
    /// Why they travel as they do.
    because: &'static str,
}

const NO_SHAPE: Shape = Shape {
    receive_buffer: None,
    segment: None,
    source_port: None,
};

const USUAL: Case = Case {
    wire: None,
    sysctls: [&[], &[]],
    shapes: [NO_SHAPE; 2],
    mtu: [1500; 2],
    connections: 6,
    bytes: 24 << 20,
    writes: &[2, 17, 300, 1460, 4096, 65_536, LONGEST],
    stalls: false,
    because: "eligible",
};

/// All that the test knows of one connection, for either end of it.
struct Exchange {
    up: u64,
    case: Case,
    stalls: [Gate; 2],
}

impl Exchange {
    fn new(number: u64, case: Case) -> Self {
        Self {
            up: 2 * number,
            case,
            stalls: <[Gate; 2]>::default(),
        }
    }

    fn stream(&self, direction: usize) -> Stream<'_> {
        Stream {
            seed: self.up + u64::from(direction == 1),
            bytes: self.case.bytes,
            writes: self.case.writes,
            stall: self.case.stalls.then_some(&self.stalls[direction]),
        }
    }

    /// Both directions at once, after the first `sent` bytes of the one to send.
    fn run(&self, stream: &TcpStream, sends: usize, sent: usize) {
        thread::scope(|scope| {
            scope.spawn(|| self.stream(sends).send(stream, sent));
            self.stream(1 - sends).receive(stream);
        });
    }
}

/// Closes for writing when the test has looked, and expects the other end to.
fn part(guest: &Guest<'_>, stream: &TcpStream) {
    guest.attend();
    stream
        .shutdown(std::net::Shutdown::Write)
        .expect("it is open");
    expect_end(stream);
}

/// A client says which it is in the last byte of its id, which is the last of its CONNECT.
fn which(connect: &[u8]) -> usize {
    usize::from(connect[connect.len() - 1] - b'a')
}

fn start_broker(bed: &Bed, shape: Shape, all: &Arc<Vec<Exchange>>, met: &Arc<Meeting>) -> Broker {
    let listener = bed
        .topology
        .broker
        .run(|| shape.listen(bed.family.broker()));
    let (all, met) = (Arc::clone(all), Arc::clone(met));
    Broker::start_on(listener, move |mut stream| {
        let guest = met.expect();
        let connect = broker::accept(&mut stream);
        all[which(&connect)].run(&stream, 1, 0);
        part(&guest, &stream);
    })
}

/// Sends its first bytes together with the CONNECT.
fn run_client(mut client: Client, number: usize, all: &[Exchange], met: &Meeting) {
    const PIPELINED: usize = 3000;
    let guest = met.expect();
    let letter = char::from(b'a' + u8::try_from(number).expect("there are few"));
    let mut first = Connect::new(Version::V3_1_1, &letter.to_string()).bytes();
    let up = all[number].stream(0);
    first.extend(&up.pattern()[..PIPELINED]);
    client.send(&first);
    thread::scope(|scope| {
        scope.spawn(|| up.send(&client.0, PIPELINED));
        let connack = wire::read_packet(&mut &client.0).expect("a CONNACK comes");
        assert_eq!(connack, wire::connack(4, 0, &[]));
        all[number].stream(1).receive(&client.0);
    });
    part(&guest, &client.0);
}

/// Joins the hosts as the case wants it.
fn lay(case: &Case, family: Family) -> Result<(Bed, Option<BadWire>), String> {
    let (topology, wire) = match case.wire {
        Some(habits) => {
            let join = |near: &_, name: &_, far: &_| BadWire::join(near, name, far, habits);
            let (topology, wire) = Topology::joined_by(join)?;
            (topology, Some(wire))
        }
        None => (Topology::new()?, None),
    };
    let [client_mtu, broker_mtu] = case.mtu.map(|mtu| mtu.to_string());
    for (host, interface, mtu) in [
        (&topology.client, "uplink", &client_mtu),
        (&topology.balancer, "clients", &client_mtu),
        (&topology.broker, "uplink", &broker_mtu),
        (&topology.balancer, "brokers", &broker_mtu),
    ] {
        host.ip(&["link", "set", interface, "mtu", mtu]);
    }
    for (host, sysctls) in [&topology.client, &topology.broker]
        .into_iter()
        .zip(case.sysctls)
    {
        for (name, value) in sysctls {
            host.sysctl(name, value);
        }
    }
    Ok((Bed::on(topology, family)?, wire))
}

fn run(case: Case, family: Family) -> Result<(), String> {
    let (bed, wire) = lay(&case, family)?;
    let all: Arc<Vec<_>> = Arc::new(
        (0..case.connections)
            .map(|n| Exchange::new(n, case))
            .collect(),
    );
    let met = Arc::new(Meeting::default());
    let _broker = start_broker(&bed, case.shapes[1], &all, &met);
    let daemon = bed.start();
    let clients: Vec<Client> = all.iter().map(|_| bed.dial(case.shapes[0])).collect();

    let count = clients.len();
    thread::scope(|scope| {
        for (number, client) in clients.into_iter().enumerate() {
            let (all, met) = (&all, &met);
            scope.spawn(move || run_client(client, number, all, met));
        }
        let _host = met.expect();
        met.gather(2 * count);
        let choices = &daemon.status()["choices"];
        let chosen = daemon.chosen(case.because);
        assert_eq!(chosen, case.connections, "{family:?}, {case:?}: {choices}");
        if case.because == "eligible" {
            bed.until_spliced(count);
            expect_carried(&bed, &case);
        }
        met.end();
    });
    if let (Some(wire), Some(habits)) = (wire, case.wire) {
        assert!(wire.has_misbehaved(habits), "{wire:?}");
    }
    Ok(())
}

/// Nearly all bytes were carried by the kernel, not before it took over.
fn expect_carried(bed: &Bed, case: &Case) {
    for from in [From::Client, From::Broker] {
        for flow in bed.flows(from) {
            let carried = usize::try_from(flow.number("bytes")).expect("it fits");
            assert!(carried > case.bytes / 2, "{carried} bytes, from {from:?}");
        }
    }
}

/// Runs each case over both families.
fn run_all(cases: &[Case]) -> Result<(), String> {
    for case in cases {
        for family in Family::BOTH {
            run(*case, family)?;
        }
    }
    Ok(())
}

#[test]
fn every_byte_arrives_once_and_in_order() {
    need!(run_all(&[USUAL]));
}

/// A wire to the clients that does this, and few bytes, as it takes its time.
const fn over(wire: Habits, bytes: usize) -> Case {
    Case {
        wire: Some(wire),
        bytes,
        ..USUAL
    }
}

const GOOD: Habits = Habits {
    loses: 0,
    repeats: 0,
    delays: 0,
};

#[test]
fn nothing_is_lost_for_good_on_a_wire_that_loses() {
    need!(run_all(&[
        over(Habits { loses: 10, ..GOOD }, 4 << 20),
        over(Habits { loses: 50, ..GOOD }, 1 << 20),
    ]));
}

#[test]
fn nothing_is_swapped_on_a_wire_that_swaps_and_repeats() {
    need!(run_all(&[
        over(
            Habits {
                repeats: 30,
                delays: 30,
                ..GOOD
            },
            4 << 20
        ),
        over(
            Habits {
                repeats: 10,
                delays: 20,
                loses: 10
            },
            2 << 20
        ),
    ]));
}

const NO_SACK: &[(&str, &str)] = &[("net.ipv4.tcp_sack", "0")];
const NO_TIMESTAMPS: &[(&str, &str)] = &[("net.ipv4.tcp_timestamps", "0")];
const ECN: &[(&str, &str)] = &[("net.ipv4.tcp_ecn", "1")];

#[test]
fn the_ends_need_not_agree_on_sack() {
    // Where only one end has agreed to it, the other's losses are found by time-outs.
    let loses = over(
        Habits {
            loses: 10,
            delays: 10,
            ..GOOD
        },
        256 << 10,
    );

    need!(run_all(&[
        Case {
            sysctls: [NO_SACK, &[]],
            ..loses
        },
        Case {
            sysctls: [&[], NO_SACK],
            ..loses
        },
        Case {
            sysctls: [NO_SACK, NO_SACK],
            ..loses
        },
    ]));
}

#[test]
fn the_ends_need_not_agree_on_timestamps_or_ecn() {
    need!(run_all(&[
        Case {
            sysctls: [NO_TIMESTAMPS, &[]],
            ..USUAL
        },
        Case {
            sysctls: [&[], NO_TIMESTAMPS],
            ..USUAL
        },
        Case {
            sysctls: [ECN, ECN],
            ..USUAL
        },
    ]));
}

const NO_SCALE: &[(&str, &str)] = &[("net.ipv4.tcp_window_scaling", "0")];
/// The kernel announces the scale that the largest of these needs: 1 GiB, 16,384 units.
const LARGEST_SCALE: &[(&str, &str)] = &[("net.ipv4.tcp_rmem", "4096 131072 1073741824")];

/// A receive buffer whose window needs no scale, or little of it.
const fn buffer(bytes: usize) -> Shape {
    Shape {
        receive_buffer: Some(bytes),
        ..NO_SHAPE
    }
}

#[test]
fn the_ends_need_not_agree_on_the_scale_of_windows() {
    need!(run_all(&[
        Case {
            sysctls: [NO_SCALE, &[]],
            ..USUAL
        },
        Case {
            sysctls: [&[], NO_SCALE],
            ..USUAL
        },
        Case {
            sysctls: [LARGEST_SCALE, NO_SCALE],
            ..USUAL
        },
        Case {
            sysctls: [NO_SCALE, LARGEST_SCALE],
            ..USUAL
        },
        Case {
            sysctls: [LARGEST_SCALE, LARGEST_SCALE],
            ..USUAL
        },
        Case {
            shapes: [buffer(32 << 10), NO_SHAPE],
            ..USUAL
        },
        Case {
            shapes: [NO_SHAPE, buffer(32 << 10)],
            ..USUAL
        },
        Case {
            sysctls: [LARGEST_SCALE, &[]],
            shapes: [NO_SHAPE, buffer(64 << 10)],
            ..USUAL
        },
        Case {
            sysctls: [&[], LARGEST_SCALE],
            shapes: [buffer(64 << 10), NO_SHAPE],
            ..USUAL
        },
    ]));
}

#[test]
fn tiny_windows_are_enough() {
    const TINY: Case = Case {
        bytes: 1 << 20,
        ..USUAL
    };

    need!(run_all(&[
        Case {
            shapes: [buffer(5000), NO_SHAPE],
            ..TINY
        },
        Case {
            shapes: [NO_SHAPE, buffer(5000)],
            ..TINY
        },
        Case {
            shapes: [buffer(8000), buffer(8000)],
            ..TINY
        },
    ]));
}

#[test]
fn readers_may_stall() {
    const STALLS: Case = Case {
        stalls: true,
        ..USUAL
    };

    need!(run_all(&[
        STALLS,
        Case {
            shapes: [buffer(16 << 10), buffer(16 << 10)],
            ..STALLS
        },
        Case {
            sysctls: [LARGEST_SCALE, NO_SCALE],
            ..STALLS
        },
        Case {
            sysctls: [NO_SCALE, LARGEST_SCALE],
            ..STALLS
        },
    ]));
}

/// Insists on segments of so many bytes.
const fn segment(bytes: u32) -> Shape {
    Shape {
        segment: Some(bytes),
        ..NO_SHAPE
    }
}

#[test]
fn segments_may_be_of_any_size() {
    need!(run_all(&[
        Case {
            mtu: [9000, 9000],
            ..USUAL
        },
        Case {
            mtu: [9000, 1500],
            ..USUAL
        },
        Case {
            mtu: [1500, 9000],
            ..USUAL
        },
        Case {
            mtu: [1500, 1300],
            ..USUAL
        },
        Case {
            shapes: [segment(536), NO_SHAPE],
            ..USUAL
        },
        Case {
            shapes: [NO_SHAPE, segment(536)],
            because: "segment_size",
            ..USUAL
        },
    ]));
}
