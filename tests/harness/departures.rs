//! When each of many connections ends, and how.

use std::io::{self, Read as _};
use std::time::Duration;
#[expect(clippy::disallowed_types, reason = "a test waits in real time")]
use std::time::Instant;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::client::Client;
use crate::wait::{PATIENCE, uninterrupted};

/// The end of a connection, seen by its client.
#[derive(Debug, Clone, Copy)]
pub struct Departure {
    /// Its place among those that were watched.
    pub client: usize,
    /// Since the watch began.
    pub at: Duration,
    /// By a reset; else by a FIN.
    pub was_reset: bool,
}

/// Waits until `count` of `clients` have ended, and tells in which order they did.
///
/// # Panics
///
/// None ends for a long time, or something else than an end comes.
pub fn until_ended(clients: &[Client], count: usize) -> Vec<Departure> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).expect("epoll is there");
    for (n, client) in clients.iter().enumerate() {
        let number = u64::try_from(n).expect("there are few");
        let event = EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLONESHOT, number);
        epoll
            .add(&client.0, event)
            .expect("a socket can be watched");
    }
    #[expect(clippy::disallowed_types, reason = "a test waits in real time")]
    let begin = Instant::now();
    let mut departures = Vec::new();
    let patience = u16::try_from(PATIENCE.as_millis()).expect("it is not long");
    let mut events = [EpollEvent::empty(); 64];
    while departures.len() < count {
        let found = match epoll.wait(&mut events, EpollTimeout::from(patience)) {
            // A machine that was halted for a moment interrupts who waits.
            Err(Errno::EINTR) => continue,
            found => found.expect("epoll waits"),
        };
        assert!(found > 0, "{} of {count} have ended", departures.len());
        for event in &events[..found] {
            let client = usize::try_from(event.data()).expect("it is a place");
            departures.push(departure(&clients[client], client, begin.elapsed()));
        }
    }
    departures
}

/// The places of those that have ended; what they were sent before is not read.
pub fn ended_by_now(clients: &[Client]) -> Vec<usize> {
    let has_ended = |Client(stream): &Client| {
        stream.set_nonblocking(true).expect("it is a socket");
        let peeked = stream.peek(&mut [0]);
        stream.set_nonblocking(false).expect("it is a socket");
        match peeked {
            Ok(count) => count == 0,
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        }
    };
    let ended = clients
        .iter()
        .enumerate()
        .filter(|(_, client)| has_ended(client));
    ended.map(|(n, _)| n).collect()
}

fn departure(Client(stream): &Client, client: usize, at: Duration) -> Departure {
    let mut stream = stream;
    let was_reset = match uninterrupted(|| stream.read(&mut [0; 64])) {
        Ok(0) => false,
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => true,
        other => panic!("client {client} does not end: {other:?}"),
    };
    Departure {
        client,
        at,
        was_reset,
    }
}
