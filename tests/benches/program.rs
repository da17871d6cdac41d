//! What the kernel half costs for a packet, in nanoseconds of `BPF_PROG_TEST_RUN`.
//!
//! Flows lie in a ring: each leads to the key of another, so that a packet that is run again and again
//! is carried from flow to flow, all over the table, and no lookup is helped by the one before.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use harness::bed::Family;
use harness::frame::Frame;
use harness::kernel_half::{KernelHalf, flow, key};
use harness::prog_run::{PASS, Packet, Program, REDIRECT, Ran, Sum};

/// Connections in the table; each has two flows.
const SIZES: [u32; 3] = [1, 10_000, 1_000_000];
/// Room in the table, as by default.
const CAPACITY: u32 = 1 << 20;

/// Times that a packet is run on, fewer than it has hops.
const TIMES: u32 = 250;
const BATCHES: u32 = 4_000;

fn main() {
    let mut rows: Vec<(&str, Vec<u32>)> = Vec::new();
    let mut memory = Vec::new();
    for connections in SIZES {
        for family in Family::BOTH {
            let ground =
                KernelHalf::load(CAPACITY).map(|kernel| Ground::new(kernel, family, connections));
            let ground = match ground {
                Ok(ground) => ground,
                Err(reason) => return show(&format!("skipped: {reason}")),
            };
            if family == Family::V4 {
                memory.push(ground.memory);
            }
            for (name, cost) in ground.costs() {
                match rows.iter_mut().find(|row| row.0 == name) {
                    Some(row) => row.1.push(cost),
                    None => rows.push((name, vec![cost])),
                }
            }
        }
    }
    let columns = SIZES.map(|size| format!("{size:>10}")).concat();
    show(&format!(
        "{:38}{columns}",
        "nanoseconds a packet; connections:"
    ));
    for (name, costs) in rows {
        let columns: String = costs.iter().map(|cost| format!("{cost:>10}")).collect();
        show(&format!("{name:38}{columns}"));
    }
    let columns: String = memory.iter().map(|bytes| format!("{bytes:>10}")).collect();
    show(&format!(
        "{:38}{columns}",
        "bytes of kernel memory a connection"
    ));
}

#[expect(clippy::print_stdout, reason = "a benchmark talks to the terminal")]
fn show(line: &str) {
    println!("{line}");
}

/// A table with a ring of flows.
struct Ground {
    kernel: KernelHalf,
    family: Family,
    flows: u32,
    /// Bytes that the kernel took for each connection, as far as it can be told.
    memory: i64,
}

impl Ground {
    fn new(kernel: KernelHalf, family: Family, connections: u32) -> Self {
        let mut ground = Self {
            kernel,
            family,
            flows: 2 * connections,
            memory: 0,
        };
        let to = ground.listener();
        let before = kernel_memory();
        for place in 0..ground.flows {
            let [here, next] = [place, ground.next(place)].map(|place| ground.client(place));
            let key = key(here, to);
            let flow = flow(key, next, to, [0x9000_0005, 0x4321_8767]);
            ground
                .kernel
                .flows
                .insert(key, flow, 0)
                .expect("there is room");
        }
        ground.memory = (kernel_memory() - before) / i64::from(connections);
        ground
    }

    /// The place of the flow that one leads to: by a prime, all of them are on the way.
    fn next(&self, place: u32) -> u32 {
        const STEP: u64 = 7_368_787;
        let next = (u64::from(place) + STEP) % u64::from(self.flows);
        u32::try_from(next).expect("it is a place")
    }

    fn client(&self, place: u32) -> SocketAddr {
        let [_, a, b, c] = place.to_be_bytes();
        let address = match self.family {
            Family::V4 => IpAddr::from([10, a, b, c]),
            Family::V6 => IpAddr::from(Ipv6Addr::new(
                0xfd00,
                0,
                0,
                0,
                0,
                0,
                a.into(),
                u16::from_be_bytes([b, c]),
            )),
        };
        (address, 50_000).into()
    }

    fn listener(&self) -> SocketAddr {
        let address = match self.family {
            Family::V4 => IpAddr::from(Ipv4Addr::new(192, 0, 2, 1)),
            Family::V6 => IpAddr::from(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
        };
        (address, 1883).into()
    }

    /// A segment with a message of 100 bytes.
    fn segment(&self, from: SocketAddr) -> Frame {
        let mut frame = Frame::new(from, self.listener());
        frame.hops = 255;
        frame.window = 501;
        frame.payload = vec![0x30; 100];
        frame
    }

    fn costs(&self) -> Vec<(&'static str, u32)> {
        let stranger = self.segment(SocketAddr::new(self.client(0).ip(), 1));
        let [ingress, egress] = [&self.kernel.ingress, &self.kernel.egress];
        match self.family {
            Family::V4 => vec![
                ("ingress, carried, IPv4", self.carried(&[])),
                (
                    "ingress, carried, IPv4, 3 SACK blocks",
                    self.carried(&sack()),
                ),
                ("ingress, of no flow, IPv4", passed(ingress, &stranger, 1)),
                ("egress, of this host, IPv4", passed(egress, &stranger, 0)),
                ("egress, forwarded", passed(egress, &stranger, 1)),
            ],
            Family::V6 => vec![
                ("ingress, carried, IPv6", self.carried(&[])),
                (
                    "ingress, carried, IPv6, 3 SACK blocks",
                    self.carried(&sack()),
                ),
                ("ingress, of no flow, IPv6", passed(ingress, &stranger, 1)),
                ("egress, of this host, IPv6", passed(egress, &stranger, 0)),
            ],
        }
    }

    /// The cost where a flow is found.
    fn carried(&self, options: &[u8]) -> u32 {
        let mut place = 0;
        median(|| {
            let mut frame = self.segment(self.client(place));
            frame.options = options.to_vec();
            let ran = run(&self.kernel.ingress, &frame, 1, REDIRECT);
            for _ in 0..TIMES {
                place = self.next(place);
            }
            let last = self.segment(self.client(place)).bytes();
            let address = if self.family == Family::V4 {
                26..30
            } else {
                22..38
            };
            assert_eq!(
                ran.bytes[address.clone()],
                last[address],
                "it was carried each time"
            );
            ran.nanoseconds
        })
    }
}

/// Slabs and what each CPU has, of proc(5), in bytes.
fn kernel_memory() -> i64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kilobytes = |line: &str| {
        let is_kernel = line.starts_with("Slab:") || line.starts_with("Percpu:");
        let number = line.split_ascii_whitespace().nth(1)?.parse::<i64>().ok()?;
        is_kernel.then_some(number)
    };
    text.lines().filter_map(kilobytes).sum::<i64>() << 10
}

/// The cost where nothing is done.
fn passed(program: &Program, frame: &Frame, came_by: u32) -> u32 {
    median(|| run(program, frame, came_by, PASS).nanoseconds)
}

fn run(program: &Program, frame: &Frame, came_by: u32, verdict: i32) -> Ran {
    let bytes = frame.bytes();
    let packet = Packet {
        bytes: &bytes,
        came_by,
        on: 0,
        beside: [0; 5],
        sum: Sum::Unknown,
    };
    let ran = program
        .repeat(&packet, TIMES)
        .expect("the kernel runs programs");
    assert_eq!(ran.verdict, verdict);
    ran
}

fn median(mut batch: impl FnMut() -> u32) -> u32 {
    let mut costs: Vec<u32> = (0..BATCHES).map(|_| batch()).collect();
    costs.sort_unstable();
    costs[costs.len() / 2]
}

fn sack() -> Vec<u8> {
    let blocks = (1..=24).map(|n| n * 3);
    [1, 1, 5, 26].into_iter().chain(blocks).collect()
}
