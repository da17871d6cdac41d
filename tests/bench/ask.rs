//! Clients that send a message, wait for the answer, and send the next.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::thread;
use std::time::Instant;

use clap::Args;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use serde_json::Value;

use crate::histogram::Histogram;
use crate::stage::Stage;
use crate::wire::{Tickets, Wire, believe};
use crate::{Common, introduce_by, join, packet, subscribe};

/// So that a thread without traffic sees the end.
const LOOK_MS: u16 = 20;
const EVENTS: usize = 256;
const READ_BYTES: usize = 256 << 10;

#[derive(Args)]
pub(crate) struct Options {
    #[arg(long)]
    connections: usize,
    /// The length of a message and of its answer
    #[arg(long)]
    bytes: usize,
    /// Messages on their way at a time, in each connection
    #[arg(long, default_value_t = 1)]
    depth: usize,
    #[arg(long)]
    threads: usize,
    /// Subscribe each connection to a topic of its own: a real broker sends messages to those who
    /// want them
    #[arg(long)]
    own_topic: bool,
}

pub(crate) fn run(common: &Common, options: &Options) -> io::Result<Value> {
    let stage = Stage::new();
    let shares = connect(common, options)?;

    let (interval, outcomes) = thread::scope(|scope| {
        let workers: Vec<_> = shares
            .into_iter()
            .map(|clients| scope.spawn(|| Worker::new(clients)?.run(&stage)))
            .collect();
        let interval = stage.conduct(common.warm_up(), common.measure());
        stage.end();
        let outcomes: Vec<_> = workers.into_iter().map(join).collect();
        (interval, outcomes)
    });

    let mut seen = Histogram::new();
    let mut silent = 0;
    for outcome in outcomes {
        let worker = outcome?;
        seen.merge(&worker.seen);
        silent += worker
            .clients
            .iter()
            .filter(|client| !client.is_heard)
            .count();
    }
    Ok(interval?.report(&seen, silent))
}

/// Connects all clients, each thread its share.
fn connect(common: &Common, options: &Options) -> io::Result<Vec<Vec<Client>>> {
    let threads = options.threads.clamp(1, options.connections.max(1));
    let config = believe(common.authority.as_deref(), Tickets::Refused)?;
    let share = |thread: usize| {
        (thread..options.connections)
            .step_by(threads)
            .map(|number| {
                let id = format!("bench-{}-{number}", std::process::id());
                let mut stream = introduce_by(config.as_ref(), None, common.to, &id)?;
                let mut message = packet::message(options.bytes);
                if options.own_topic {
                    let topic = format!("{number:05}");
                    let topic = [b"\x00\x05", topic.as_bytes()].concat();
                    subscribe(&mut stream, &topic)?;
                    message = packet::message_to(&topic, options.bytes);
                }
                Client::new(stream, message, options.depth)
            })
            .collect::<io::Result<Vec<_>>>()
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|thread| scope.spawn(move || share(thread)))
            .collect();
        workers.into_iter().map(join).collect()
    })
}

struct Client {
    stream: Wire,
    message: Vec<u8>,
    /// When each message on its way was due to be sent.
    asked: VecDeque<Instant>,
    /// Messages to be written, and how much of the first already is.
    unsent: usize,
    written: usize,
    /// Bytes of the current answer that are here.
    received: usize,
    /// An answer came while it was measured.
    is_heard: bool,
}

impl Client {
    fn new(stream: Wire, message: Vec<u8>, depth: usize) -> io::Result<Self> {
        stream.socket().set_nonblocking(true)?;
        Ok(Self {
            stream,
            message,
            asked: VecDeque::with_capacity(depth),
            unsent: depth,
            written: 0,
            received: 0,
            is_heard: false,
        })
    }

    /// Sends what is to be sent, until the socket is full.
    fn write(&mut self) -> io::Result<()> {
        while self.unsent > 0 {
            match self.stream.write(&self.message[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
            if self.written == self.message.len() {
                self.written = 0;
                self.unsent -= 1;
            }
        }
        self.stream.push()
    }

    /// Reads until the socket is empty, and asks anew for each answer.
    fn read(
        &mut self,
        buffer: &mut [u8],
        heard: &mut impl FnMut(Instant, Instant),
    ) -> io::Result<()> {
        loop {
            let count = match self.stream.read(buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            self.received += count;
            while self.received >= self.message.len() {
                self.received -= self.message.len();
                let now = Instant::now();
                if let Some(asked) = self.asked.pop_front() {
                    heard(asked, now);
                }
                self.asked.push_back(now);
                self.unsent += 1;
            }
            // What comes after a short read is announced by another event.
            if count < buffer.len() && self.stream.reads_all() {
                return Ok(());
            }
        }
    }
}

/// A thread with its share of the clients.
struct Worker {
    clients: Vec<Client>,
    epoll: Epoll,
    seen: Histogram,
}

impl Worker {
    fn new(clients: Vec<Client>) -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let interest = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET;
        for (number, client) in clients.iter().enumerate() {
            epoll.add(
                client.stream.socket(),
                EpollEvent::new(interest, number as u64),
            )?;
        }
        Ok(Self {
            clients,
            epoll,
            seen: Histogram::new(),
        })
    }

    /// Asks and listens until the measurement is over.
    fn run(mut self, stage: &Stage) -> io::Result<Self> {
        let outcome = self.ask(stage);
        // The others need not go on when one fails.
        if outcome.is_err() {
            stage.end();
        }
        outcome.map(|()| self)
    }

    fn ask(&mut self, stage: &Stage) -> io::Result<()> {
        for client in &mut self.clients {
            let now = Instant::now();
            client.asked.extend(vec![now; client.unsent]);
            client.write()?;
        }
        let mut events = [EpollEvent::empty(); EVENTS];
        let mut buffer = vec![0; READ_BYTES];
        while !stage.is_over() {
            let count = self.epoll.wait(&mut events, LOOK_MS)?;
            for event in &events[..count] {
                let number = usize::try_from(event.data()).unwrap_or_default();
                let client = &mut self.clients[number];
                let mut is_heard = false;
                client.read(&mut buffer, &mut |asked, now| {
                    if stage.is_measuring() {
                        self.seen.add(now - asked);
                        is_heard = true;
                    }
                })?;
                client.is_heard |= is_heard;
                client.write()?;
            }
        }
        Ok(())
    }
}
