//! Both ends of every connection of a case, each sending and checking a stream of its own.

use std::net::TcpStream;
use std::sync::Arc;
use std::thread;

use harness::bed::{Bed, Family, From};
use harness::broker::{self, Broker};
use harness::client::Client;
use harness::meeting::{Gate, Guest, Meeting};
use harness::shape::Shape;
use harness::stream::{Stream, expect_end};
use harness::wire::{self, Connect, Version};

use crate::{Case, lay};

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
    let listener = bed.topology.broker.run(|| shape.listen(bed.broker));
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
pub(crate) fn run_all(cases: &[Case]) -> Result<(), String> {
    for case in cases {
        for family in Family::BOTH {
            run(*case, family)?;
        }
    }
    Ok(())
}
