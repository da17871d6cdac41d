//! A receiver that does not read: the sender is held back, and no more is kept than is allowed.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use harness::bed::Family;
use harness::ends::talk;
use harness::namespace::Topology;
use harness::need;
use harness::wait::uninterrupted;

use crate::Ground;

/// A write that waits this long is held back.
const HELD_BACK: Duration = Duration::from_millis(700);
/// `limits.sockmap_queue` of these tests.
const QUEUE: usize = 256 << 10;
/// The most that the kernel keeps in receive and send buffers of TCP by itself, in bytes of
/// `tcp_rmem` and `tcp_wmem`.
const BUFFER: &str = "4096 131072 1048576";

fn ground() -> Result<Ground, String> {
    let topology = Topology::new()?;
    for host in [&topology.client, &topology.balancer] {
        host.sysctl("net.ipv4.tcp_rmem", BUFFER);
        host.sysctl("net.ipv4.tcp_wmem", BUFFER);
    }
    Ground::with(topology, None, Family::V4, |setup| {
        setup.limits(&format!("sockmap_queue = \"{QUEUE}B\""))
    })
}

/// A prime number of bytes that repeat only after another prime.
fn word() -> Vec<u8> {
    (0..=250).cycle().take(65_521).collect()
}

/// Sends `word` again and again until nobody takes any more; tells how many bytes were taken.
fn push(mut stream: &TcpStream, word: &[u8], most: usize) -> usize {
    stream
        .set_write_timeout(Some(HELD_BACK))
        .expect("it is a socket");
    let mut sent = 0;
    while sent < most {
        match uninterrupted(|| stream.write(&word[sent % word.len()..])) {
            Ok(count) => sent += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return sent,
            Err(error) => panic!("after {sent} bytes: {error}"),
        }
    }
    panic!("all {sent} bytes were taken, and nobody read");
}

/// Reads as many, which must be `word` again and again.
fn expect(mut stream: &TcpStream, word: &[u8], bytes: usize) {
    let mut read = vec![0; bytes];
    stream.read_exact(&mut read).expect("it comes");
    let is_word = |part: &[u8]| *part == word[..part.len()];
    assert!(read.chunks(word.len()).all(is_word), "damage");
}

/// Buffers between two ends: the sender's send buffer, the daemon's receive buffer, its send buffer,
/// the receiver's receive buffer. A send buffer is filled to at most twice the limit.
const BOUND: usize = (1 << 20) + (1 << 20) + 2 * QUEUE + (1 << 20) + (1 << 20);

#[test]
fn a_sender_is_held_back_while_nobody_reads() {
    let ground = need!(ground());
    let word = word();
    let pairs: Vec<_> = (0..8).map(|n| ground.open(&format!("c{n}"))).collect();
    for (client, broker) in &pairs {
        talk(client, broker);
    }
    let before = ground.daemon.process.resident_bytes();

    for from_broker in [false, true] {
        let sent: Vec<usize> = thread::scope(|scope| {
            let pushing: Vec<_> = pairs
                .iter()
                .map(|(client, broker)| {
                    let from = if from_broker { broker } else { &client.0 };
                    scope.spawn(|| push(from, &word, 64 << 20))
                })
                .collect();
            let join = pushing.into_iter().map(|one| one.join());
            join.map(|sent| sent.expect("it is held back")).collect()
        });
        for sent in &sent {
            assert!(*sent < BOUND, "{sent} bytes are on their way");
        }
        let grown = ground
            .daemon
            .process
            .resident_bytes()
            .saturating_sub(before);
        assert!(grown < 8 << 20, "the daemon grew by {grown} bytes");
        // Others are served all the same.
        let (client, broker) = ground.open("other");
        talk(&client, &broker);
        for ((client, broker), sent) in pairs.iter().zip(&sent) {
            let to = if from_broker { &client.0 } else { broker };
            expect(to, &word, *sent);
        }
    }
    for (client, broker) in &pairs {
        talk(client, broker);
    }
    assert!(ground.number("held_back") > 0, "{}", ground.daemon.status());
    drop(pairs);
    ground.until_forgotten();
}

/// A byte takes as much memory of the kernel as a thousand, where it comes in a segment of its own.
#[test]
fn a_sender_of_single_bytes_is_held_back_sooner() {
    let ground = need!(ground());
    let (client, broker) = ground.open("small");
    talk(&client, &broker);
    let count = |field: &str| ground.number(field);
    let before = count("held_back");

    // As many segments as the limit allows, each on its own, before the daemon has to copy.
    let most = QUEUE / lb_common::stream::SEGMENT_CHARGE as usize;
    let mut sent = 0;
    while count("held_back") == before {
        for _ in 0..most {
            (&client.0).write_all(b"x").expect("it is open");
        }
        sent += most;
        assert!(sent < 1000 * most, "{sent} segments, and none is held back");
    }

    expect(&broker, b"x", sent);
    talk(&client, &broker);
    drop((client, broker));
    ground.until_forgotten();
}

/// The client reads nothing until it has sent everything: what the broker sends back meanwhile
/// must not be in the way.
#[test]
fn one_direction_does_not_wait_for_the_other() {
    let ground = need!(ground());
    let word = word();
    let (client, broker) = ground.open("c");
    talk(&client, &broker);
    let back = push(&broker, &word, 64 << 20);

    let there = 32 << 20;
    thread::scope(|scope| {
        scope.spawn(|| expect(&broker, &word, there));
        let mut sent = 0;
        while sent < there {
            let length = (word.len() - sent % word.len()).min(there - sent);
            let at = sent % word.len();
            (&client.0)
                .write_all(&word[at..at + length])
                .expect("the broker reads");
            sent += length;
        }
    });

    expect(&client.0, &word, back);
    drop((client, broker));
    ground.until_forgotten();
}
