//! Thousands of connections that are left to the kernel at the same time, while they talk or end.

#![cfg(test)]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::thread;

use harness::bed::{Bed, Family, From};
use harness::broker::{self, Broker, reset};
use harness::client::Client;
use harness::echo::Echo;
use harness::need;
use harness::shape::Shape;
use harness::talk::{Talk, say};
use harness::wait;
use harness::wire::{Connect, Version};

/// This process has both ends of each, and the daemon two sockets for a moment.
const CONNECTIONS: usize = 2_000;
const THREADS: usize = 4;

/// Connections that end while they are handed over, of each kind.
const SHORT: usize = 100;

/// Asks for a session and says a word, without waiting for an answer.
fn ask(bed: &Bed, name: &str) -> Client {
    let mut client = bed.dial(Shape::default());
    let mut first = Connect::new(Version::V3_1_1, name).bytes();
    first.extend(b"hello");
    client.send(&first);
    client
}

/// Opens all at once; each has talked when this returns, and goes on talking.
fn open_all(bed: &Bed) -> Vec<Client> {
    let open = |thread: usize| {
        let name = |n: usize| format!("device-{thread}-{n}");
        let mut clients: Vec<Client> = (0..CONNECTIONS / THREADS)
            .map(|n| ask(bed, &name(n)))
            .collect();
        for client in &mut clients {
            assert_eq!(client.packet(), [0x20, 2, 0, 0]);
            assert_eq!(client.bytes(5), b"hello");
        }
        for round in 0..20 {
            say(&mut clients, round);
        }
        clients
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|n| scope.spawn(move || open(n))).collect();
        let join = |thread: thread::ScopedJoinHandle<'_, Vec<Client>>| {
            thread.join().expect("everybody is served")
        };
        threads.into_iter().flat_map(join).collect()
    })
}

#[test]
fn thousands_leave_at_once_while_each_talks() {
    for family in Family::BOTH {
        let bed = need!(Bed::new(family));
        let echo = bed.topology.broker.run(|| Echo::start_at(family.broker()));
        let daemon = bed.start();

        let talk = Talk::start(open_all(&bed));
        bed.until_spliced(CONNECTIONS);
        talk.until_all_answered();

        let status = daemon.status();
        assert_eq!(daemon.chosen("eligible"), CONNECTIONS as u64, "{status}");
        assert_eq!(status["splice"]["left"], CONNECTIONS, "{status}");
        assert_eq!(status["splice"]["aborted"], 0, "{status}");
        let clients = talk.end();
        assert_eq!(bed.flows(From::Client).len(), CONNECTIONS);
        drop(clients);
        bed.until_forgotten();
        drop(echo);
    }
}

/// What a client does as soon as it has asked.
const ENDS: [fn(Client); 5] = [
    // Closes before it is answered, closes and resets when it is answered, sends more and closes.
    |client| drop(client.0.shutdown(std::net::Shutdown::Write)),
    |mut client| drop(client.packet()),
    |mut client| {
        client.packet();
        reset(client.0);
    },
    |client| reset(client.0),
    |mut client| {
        client.packet();
        // A broker that has closed may have reset by now.
        drop(client.0.write_all(&[7; 100_000]));
    },
];

/// Ends connections in as many ways: by the last letter of the id.
fn serve(mut stream: TcpStream) {
    let connect = broker::accept(&mut stream);
    match connect.last() {
        Some(b'0') => drop(stream),
        Some(b'1') => reset(stream),
        _ => {
            let mut rest = Vec::new();
            // Whether it ends or is reset is the client's choice.
            drop(stream.read_to_end(&mut rest));
        }
    }
}

#[test]
fn connections_that_end_on_their_way_are_forgotten() {
    for family in Family::BOTH {
        let bed = need!(Bed::new(family));
        let listener = bed
            .topology
            .broker
            .run(|| Shape::default().listen(family.broker()));
        let _broker = Broker::start_on(listener, serve);
        let daemon = bed.start();

        thread::scope(|scope| {
            for (kind, end) in ENDS.into_iter().enumerate() {
                let bed = &bed;
                scope.spawn(move || {
                    for n in 0..SHORT {
                        end(ask(bed, &format!("short-{kind}-{n}-{}", n % 3)));
                    }
                });
            }
        });

        bed.until_forgotten();
        wait::until("no session is left", || daemon.connections() == 0);
        assert_eq!(bed.topology.balancer.run(harness::sockets::connections), 0);
    }
}
