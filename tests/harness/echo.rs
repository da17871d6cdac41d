//! A broker for thousands of clients: it accepts every CONNECT and sends back what follows.

use std::collections::HashMap;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{MsgFlags, recv};

use crate::wire;

/// How long until the thread looks for its end again, in milliseconds.
const LOOK: u16 = 20;

/// The broker; it closes its connections and ends when dropped.
#[derive(Debug)]
pub struct Echo {
    pub address: SocketAddr,
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Echo {
    /// Starts it in a thread, with as many descriptors as this process may have.
    pub fn start() -> Self {
        Self::start_at((Ipv4Addr::LOCALHOST, 0).into())
    }

    /// The same at an address.
    pub fn start_at(address: SocketAddr) -> Self {
        let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("there is such a limit");
        setrlimit(Resource::RLIMIT_NOFILE, most, most).expect("it may be raised to its maximum");
        let listener = TcpListener::bind(address).expect("a broker may listen");
        let address = listener.local_addr().expect("it listens");
        let (end, ended) = channel();
        let thread = thread::spawn(move || serve(&listener, &ended));
        Self {
            address,
            end: Some(end),
            thread: Some(thread),
        }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(Err(panic)) = self.thread.take().map(JoinHandle::join)
            && !thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

fn serve(listener: &TcpListener, ended: &Receiver<()>) {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).expect("epoll is there");
    let watch = |fd: u64| EpollEvent::new(EpollFlags::EPOLLIN, fd);
    listener.set_nonblocking(true).expect("it is a socket");
    epoll
        .add(listener, watch(0))
        .expect("a socket can be watched");
    let mut clients: HashMap<u64, Client> = HashMap::new();
    let mut events = [EpollEvent::empty(); 256];
    while let Err(std::sync::mpsc::TryRecvError::Empty) = ended.try_recv() {
        let count = match epoll.wait(&mut events, EpollTimeout::from(LOOK)) {
            Err(Errno::EINTR) => continue,
            count => count.expect("epoll waits"),
        };
        for event in &events[..count] {
            if event.data() == 0 {
                while let Ok((stream, _)) = listener.accept() {
                    let fd = u64::try_from(stream.as_raw_fd()).expect("descriptors are positive");
                    epoll
                        .add(&stream, watch(fd))
                        .expect("a socket can be watched");
                    clients.insert(
                        fd,
                        Client {
                            stream,
                            is_accepted: false,
                        },
                    );
                }
            } else if let Some(client) = clients.get_mut(&event.data())
                && !client.echo()
            {
                clients.remove(&event.data());
            }
        }
    }
}

struct Client {
    stream: TcpStream,
    is_accepted: bool,
}

impl Client {
    /// Whether there is something to read, or the end. An event may be of a socket that had the same
    /// descriptor before: one that is closed lives on while another thread starts a process.
    fn has_news(&self) -> bool {
        let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
        let peeked = recv(self.stream.as_raw_fd(), &mut [0], flags);
        !matches!(peeked, Err(Errno::EAGAIN | Errno::EINTR))
    }

    /// Answers what has come; tells whether the client is still there.
    ///
    /// The daemon sends a CONNECT in one piece, and tests echo less than a socket buffer holds.
    fn echo(&mut self) -> bool {
        if !self.has_news() {
            return true;
        }
        if !self.is_accepted {
            let Ok(connect) = wire::read_packet(&mut self.stream) else {
                return false;
            };
            self.is_accepted = true;
            return self
                .stream
                .write_all(&wire::connack(wire::level(&connect), 0, &[]))
                .is_ok();
        }
        let mut buffer = [0; 4096];
        match self.stream.read(&mut buffer) {
            Ok(0) => false,
            Ok(count) => self.stream.write_all(&buffer[..count]).is_ok(),
            Err(error) => error.kind() == ErrorKind::Interrupted,
        }
    }
}
