//! A side that does not read: the other is held back, and the daemon does not store what it sends.

#![cfg(test)]

use std::io::{Read, Write as _};
use std::net::TcpStream;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use harness::broker::{self, Broker};
use harness::client::Client;
use harness::setup::Setup;
use harness::wait::{PATIENCE, uninterrupted};
use harness::wire::{Connect, Version};

/// Connections that stall at once.
const STALLED: usize = 6;
/// What each of them is to carry: more than all socket buffers on the way hold.
const OFFERED: usize = 48 << 20;
/// What the daemon may need more for that: a fraction of what it is offered.
const GROWTH: usize = 16 << 20;
/// A write that waits this long is held back.
const HELD_BACK: Duration = Duration::from_millis(500);

/// Bytes that repeat only after a prime number of them, so that no loss or repetition goes unseen.
fn pattern() -> Vec<u8> {
    const PRIME: usize = 65_537;
    let mut state = 0x9e37_79b9_u32;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[0]
    };
    (0..PRIME).map(|_| next()).collect()
}

/// Sends the pattern; tells once when it is held back for the first time.
fn send(mut stream: TcpStream, held_back: &Sender<()>) {
    let pattern = pattern();
    let mut held_back = Some(held_back);
    stream
        .set_write_timeout(Some(HELD_BACK))
        .expect("it is a socket");
    let mut sent = 0;
    while sent < OFFERED {
        let from = sent % pattern.len();
        let to = pattern.len().min(from + OFFERED - sent);
        match uninterrupted(|| stream.write(&pattern[from..to])) {
            Ok(count) => sent += count,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                if let Some(held_back) = held_back.take() {
                    held_back.send(()).expect("the test listens");
                }
            }
            Err(error) => panic!("after {sent} bytes: {error}"),
        }
    }
}

/// Receives to the end; it must be the pattern, and all of it.
fn receive(mut stream: impl Read) {
    let pattern = pattern();
    let mut buffer = vec![0; 1 << 16];
    let mut received = 0;
    loop {
        let from = received % pattern.len();
        let most = buffer.len().min(pattern.len() - from);
        let count = uninterrupted(|| stream.read(&mut buffer[..most]))
            .expect("no error comes before the end");
        if count == 0 {
            break;
        }
        assert!(
            buffer[..count] == pattern[from..from + count],
            "damage after {received} bytes"
        );
        received += count;
    }
    assert_eq!(received, OFFERED);
}

fn wait_for_all(messages: &Receiver<()>) {
    for _ in 0..STALLED {
        messages
            .recv_timeout(PATIENCE)
            .expect("every connection gets there");
    }
}

#[test]
fn clients_are_held_back_while_a_broker_does_not_read() {
    let go = Arc::new(Barrier::new(STALLED + 1));
    let (done, all_done) = channel();
    let gate = Arc::clone(&go);
    let broker = Broker::start(move |mut stream| {
        broker::accept(&mut stream);
        gate.wait();
        receive(stream);
        done.send(()).expect("the test listens");
    });
    let daemon = Setup::new().backend("a", broker.address()).start();
    let before = daemon.process.resident_bytes();
    let (held_back, all_held_back) = channel();

    for n in 0..STALLED {
        let client = Client::open(
            daemon.address(),
            &Connect::new(Version::V5, &format!("c{n}")),
        );
        let held_back = held_back.clone();
        thread::spawn(move || send(client.0, &held_back));
    }
    wait_for_all(&all_held_back);

    let growth = daemon.process.resident_bytes().saturating_sub(before);
    assert!(growth < GROWTH, "the daemon grew by {growth} bytes");
    go.wait();
    wait_for_all(&all_done);
}

#[test]
fn a_broker_is_held_back_while_clients_do_not_read() {
    let (held_back, all_held_back) = channel();
    let broker = Broker::start(move |mut stream| {
        broker::accept(&mut stream);
        send(stream, &held_back);
    });
    let daemon = Setup::new().backend("a", broker.address()).start();
    let before = daemon.process.resident_bytes();

    let clients: Vec<Client> = (0..STALLED)
        .map(|n| {
            Client::open(
                daemon.address(),
                &Connect::new(Version::V5, &format!("c{n}")),
            )
        })
        .collect();
    wait_for_all(&all_held_back);

    let growth = daemon.process.resident_bytes().saturating_sub(before);
    assert!(growth < GROWTH, "the daemon grew by {growth} bytes");
    let readers: Vec<_> = clients
        .into_iter()
        .map(|client| thread::spawn(|| receive(client.0)))
        .collect();
    for reader in readers {
        reader.join().expect("all of it comes");
    }
}
