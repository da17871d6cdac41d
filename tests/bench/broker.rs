//! The broker stand-in of `cargo xtask bench`: it accepts every client, answers PINGREQ, and
//! sends every PUBLISH back as it came, whatever its QoS.
//!
//! It does little, so that what stands before it is what is measured. One thread for each CPU
//! accepts and serves connections of its own. It ends by itself after the time it was told.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;
use std::thread;
use std::time::Duration;

use clap::Parser;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, listen, setsockopt, socket,
    sockopt,
};

mod reply;

use reply::Reply;

const EVENTS: usize = 256;
const READ_BYTES: usize = 256 << 10;
const BACKLOG: i32 = 4096;

#[derive(Parser)]
struct Options {
    #[arg(long)]
    listen: SocketAddr,
    #[arg(long)]
    threads: usize,
    /// After how many seconds it ends
    #[arg(long)]
    seconds: u64,
}

fn main() -> io::Result<()> {
    let options = Options::parse();
    let end = Duration::from_secs(options.seconds);
    for _ in 0..options.threads.max(1) {
        let worker = Worker::new(options.listen)?;
        drop(thread::spawn(move || worker.run()));
    }
    thread::sleep(end);
    Ok(())
}

struct Client {
    stream: TcpStream,
    reply: Reply,
    /// What could not be written yet.
    unsent: Vec<u8>,
}

struct Worker {
    epoll: Epoll,
    listener: TcpListener,
    /// By file descriptor.
    clients: Vec<Option<Client>>,
    buffer: Vec<u8>,
}

impl Worker {
    fn new(address: SocketAddr) -> io::Result<Self> {
        let listener = listener(address)?;
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(
            &listener,
            EpollEvent::new(EpollFlags::EPOLLIN, key(&listener)),
        )?;
        Ok(Self {
            epoll,
            listener,
            clients: Vec::new(),
            buffer: vec![0; READ_BYTES],
        })
    }

    fn run(mut self) -> io::Result<()> {
        let listener = key(&self.listener);
        let mut events = [EpollEvent::empty(); EVENTS];
        loop {
            let count = self.epoll.wait(&mut events, EpollTimeout::NONE)?;
            for event in &events[..count] {
                if event.data() == listener {
                    self.accept()?;
                } else {
                    self.serve(event);
                }
            }
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                // The client has gone already, or there are too many: it will see.
                Err(_) => continue,
            };
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            let interest = EpollFlags::EPOLLIN
                | EpollFlags::EPOLLOUT
                | EpollFlags::EPOLLRDHUP
                | EpollFlags::EPOLLET;
            self.epoll
                .add(&stream, EpollEvent::new(interest, key(&stream)))?;
            let slot = usize::try_from(key(&stream)).unwrap_or_default();
            if self.clients.len() <= slot {
                self.clients.resize_with(slot + 1, || None);
            }
            self.clients[slot] = Some(Client {
                stream,
                reply: Reply::default(),
                unsent: Vec::new(),
            });
        }
    }

    fn serve(&mut self, event: &EpollEvent) {
        let slot = usize::try_from(event.data()).unwrap_or_default();
        let Some(client) = self.clients.get_mut(slot).and_then(Option::as_mut) else {
            return;
        };
        let more = if event.events().contains(EpollFlags::EPOLLRDHUP) {
            More::End
        } else {
            More::Data
        };
        // A client that fails is a client that goes.
        if !client.serve(&mut self.buffer, more).unwrap_or(false) {
            self.clients[slot] = None;
        }
    }
}

/// What may stand behind the bytes in a socket.
#[derive(PartialEq)]
enum More {
    Data,
    End,
}

impl Client {
    /// Answers all there is; false when the client has gone.
    fn serve(&mut self, buffer: &mut [u8], more: More) -> io::Result<bool> {
        while self.flush()? {
            let count = match self.stream.read(buffer) {
                Ok(0) => return Ok(false),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            };
            self.reply.to(&buffer[..count], &mut self.unsent)?;
            // After a short read the socket is empty; what comes is announced by another event.
            if count < buffer.len() && more == More::Data {
                self.flush()?;
                break;
            }
        }
        Ok(true)
    }

    /// Writes what it can; true when nothing is left.
    fn flush(&mut self) -> io::Result<bool> {
        let mut written = 0;
        while written < self.unsent.len() {
            match self.stream.write(&self.unsent[written..]) {
                Ok(count) => written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        self.unsent.drain(..written);
        Ok(self.unsent.is_empty())
    }
}

/// A listener of which each thread has one; the kernel spreads the clients.
fn listener(address: SocketAddr) -> io::Result<TcpListener> {
    let family = if address.is_ipv4() {
        AddressFamily::Inet
    } else {
        AddressFamily::Inet6
    };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(family, SockType::Stream, flags, None)?;
    setsockopt(&socket, sockopt::ReuseAddr, &true)?;
    setsockopt(&socket, sockopt::ReusePort, &true)?;
    bind(socket.as_raw_fd(), &SockaddrStorage::from(address))?;
    listen(&socket, Backlog::new(BACKLOG)?)?;
    Ok(TcpListener::from(socket))
}

fn key(socket: &impl std::os::fd::AsRawFd) -> u64 {
    u64::try_from(socket.as_raw_fd()).unwrap_or_default()
}
