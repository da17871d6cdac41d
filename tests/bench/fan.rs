//! One publisher and many subscribers at a real broker: each message comes back many times.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use serde_json::Value;

use crate::histogram::Histogram;
use crate::stage::Stage;
use crate::{Common, introduce, join, packet, subscribe};

/// So that a thread without traffic sees the end.
const LOOK_MS: u16 = 20;
const EVENTS: usize = 256;
const READ_BYTES: usize = 64 << 10;

#[derive(Args)]
pub(crate) struct Options {
    /// Subscribers
    #[arg(long)]
    connections: usize,
    /// The length of a message
    #[arg(long)]
    bytes: usize,
    /// Messages on their way at a time
    #[arg(long)]
    depth: usize,
    #[arg(long)]
    threads: usize,
}

pub(crate) fn run(common: &Common, options: &Options) -> io::Result<Value> {
    let threads = options.threads.clamp(1, options.connections.max(1));
    let mut shares: Vec<Vec<TcpStream>> = (0..threads).map(|_| Vec::new()).collect();
    for number in 0..options.connections {
        let mut stream = introduce(common.to, &format!("fan-{}-{number}", std::process::id()))?;
        subscribe(&mut stream, packet::TOPIC)?;
        stream.set_nonblocking(true)?;
        shares[number % threads].push(stream);
    }
    let publisher = introduce(common.to, &format!("fan-{}", std::process::id()))?;
    let stage = Stage::new();
    let flight = Flight::new(options);

    let (interval, outcomes) = thread::scope(|scope| {
        let workers: Vec<_> = shares
            .into_iter()
            .map(|share| scope.spawn(|| listen(share, &flight, &stage)))
            .collect();
        scope.spawn(|| publish(publisher, &flight, &stage));
        let interval = stage.conduct(common.warm_up(), common.measure());
        stage.end();
        let outcomes: Vec<_> = workers.into_iter().map(join).collect();
        (interval, outcomes)
    });

    let mut seen = Histogram::new();
    for outcome in outcomes {
        seen.merge(&outcome?);
    }
    Ok(interval?.report(&seen, 0))
}

/// The messages that are on their way.
struct Flight {
    message: Vec<u8>,
    subscribers: usize,
    depth: usize,
    /// When each message was sent, by its number, and how often messages have arrived.
    sent: Mutex<(Vec<Instant>, usize)>,
    arrived: Condvar,
}

impl Flight {
    fn new(options: &Options) -> Self {
        Self {
            message: packet::message(options.bytes),
            subscribers: options.connections,
            depth: options.depth,
            sent: Mutex::default(),
            arrived: Condvar::new(),
        }
    }

    /// Waits for room, and notes the time of the message that takes it; false when it did not come.
    fn take_off(&self) -> bool {
        let sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        let is_full = |(sent, arrived): &mut (Vec<Instant>, usize)| {
            sent.len() >= *arrived / self.subscribers + self.depth
        };
        let patience = Duration::from_millis(LOOK_MS.into());
        let waited = self.arrived.wait_timeout_while(sent, patience, is_full);
        let (mut sent, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        if timeout.timed_out() {
            return false;
        }
        sent.0.push(Instant::now());
        true
    }

    /// Notes arrivals, and tells when those messages were sent.
    fn land(&self, numbers: std::ops::Range<usize>) -> Vec<Instant> {
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        sent.1 += numbers.len();
        self.arrived.notify_one();
        sent.0.get(numbers).unwrap_or_default().to_vec()
    }
}

fn publish(mut publisher: TcpStream, flight: &Flight, stage: &Stage) {
    while !stage.is_over() {
        if flight.take_off() && publisher.write_all(&flight.message).is_err() {
            stage.end();
        }
    }
}

fn listen(mut share: Vec<TcpStream>, flight: &Flight, stage: &Stage) -> io::Result<Histogram> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    for (number, stream) in share.iter().enumerate() {
        epoll.add(stream, EpollEvent::new(EpollFlags::EPOLLIN, number as u64))?;
    }
    let mut received = vec![0_usize; share.len()];
    let mut seen = Histogram::new();
    let mut events = [EpollEvent::empty(); EVENTS];
    let mut buffer = vec![0; READ_BYTES];
    while !stage.is_over() {
        let count = epoll.wait(&mut events, LOOK_MS)?;
        for event in &events[..count] {
            let number = usize::try_from(event.data()).unwrap_or_default();
            let count = match share[number].read(&mut buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error),
            };
            let length = flight.message.len();
            let before = received[number] / length;
            received[number] += count;
            for sent in flight.land(before..received[number] / length) {
                if stage.is_measuring() {
                    seen.add(sent.elapsed());
                }
            }
        }
    }
    Ok(seen)
}
