//! Clients that send a message every so often, whatever becomes of the one before: what
//! established clients see while something else happens.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use clap::Args;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use serde_json::Value;

use crate::histogram::Histogram;
use crate::stage::Stage;
use crate::{Common, introduce, packet};

const EVENTS: usize = 256;
const READ_BYTES: usize = 64 << 10;
/// Messages are sent in groups, so far apart.
const GROUP_MS: u64 = 2;

#[derive(Args)]
pub(crate) struct Options {
    #[arg(long)]
    connections: usize,
    /// The length of a message and of its answer
    #[arg(long)]
    bytes: usize,
    /// Messages of each connection in a second
    #[arg(long)]
    per_second: u64,
}

pub(crate) fn run(common: &Common, options: &Options) -> io::Result<Value> {
    let mut clients = Vec::new();
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    for number in 0..options.connections {
        let id = format!("paced-{}-{number}", std::process::id());
        let stream = introduce(common.to, &id)?;
        stream.set_nonblocking(true)?;
        let interest = EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP;
        epoll.add(&stream, EpollEvent::new(interest, number as u64))?;
        clients.push(Client {
            stream: Some(stream),
            asked: VecDeque::new(),
            received: 0,
        });
    }
    let stage = Stage::new();
    let message = packet::message(options.bytes);
    let (interval, seen) = std::thread::scope(|scope| {
        let pacing = Pacing {
            period: Duration::from_secs(1) / u32::try_from(options.per_second).unwrap_or(1),
            stage: &stage,
            message: &message,
        };
        let clients = &mut clients;
        let worker = scope.spawn(move || pacing.run(clients, &epoll));
        let interval = stage.conduct(common.warm_up(), common.measure());
        stage.end();
        (interval, crate::join(worker))
    });
    let lost = clients.iter().filter(|client| client.stream.is_none());
    let lost = lost.count();
    // Of those that are left, the last message may still be on its way.
    let silent = clients
        .iter()
        .filter(|client| client.stream.is_some() && client.asked.len() > 1)
        .count();
    let mut report = interval?.report(&seen?, silent);
    report["lost_connections"] = lost.into();
    Ok(report)
}

struct Client {
    /// None when it was lost.
    stream: Option<TcpStream>,
    asked: VecDeque<Instant>,
    received: usize,
}

struct Pacing<'a> {
    /// Between two messages of one client.
    period: Duration,
    stage: &'a Stage,
    message: &'a [u8],
}

impl Pacing<'_> {
    fn run(&self, clients: &mut [Client], epoll: &Epoll) -> io::Result<Histogram> {
        let mut seen = Histogram::new();
        let mut events = [EpollEvent::empty(); EVENTS];
        let mut buffer = vec![0; READ_BYTES];
        let start = Instant::now();
        let apart = self.period / u32::try_from(clients.len().max(1)).unwrap_or(u32::MAX);
        let mut next = 0_u32;
        while !self.stage.is_over() {
            // One after the other, evenly, and round again.
            while apart * next <= start.elapsed() {
                let number = next as usize % clients.len();
                clients[number].send(self.message);
                next += 1;
            }
            let wait = u16::try_from(GROUP_MS).unwrap_or(1);
            let count = epoll.wait(&mut events, wait)?;
            for event in &events[..count] {
                let number = usize::try_from(event.data()).unwrap_or_default();
                let heard = |asked: Instant| {
                    if self.stage.is_measuring() {
                        seen.add(asked.elapsed());
                    }
                };
                clients[number].read(self.message.len(), &mut buffer, heard);
            }
        }
        Ok(seen)
    }
}

impl Client {
    fn send(&mut self, message: &[u8]) {
        let Some(stream) = &mut self.stream else {
            return;
        };
        // A socket that takes no more of so little has had no answer for long.
        match stream.write(message) {
            Ok(count) if count == message.len() => self.asked.push_back(Instant::now()),
            Ok(_) | Err(_) => self.stream = None,
        }
    }

    fn read(&mut self, length: usize, buffer: &mut [u8], mut heard: impl FnMut(Instant)) {
        while let Some(stream) = &mut self.stream {
            match stream.read(buffer) {
                Ok(0) => self.stream = None,
                Ok(count) => self.received += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => self.stream = None,
            }
        }
        while self.received >= length {
            self.received -= length;
            if let Some(asked) = self.asked.pop_front() {
                heard(asked);
            }
        }
    }
}
