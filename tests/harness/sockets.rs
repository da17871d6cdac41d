//! TCP sockets of this network, as /proc lists them.

use std::collections::HashSet;
use std::fs;
use std::net::TcpStream;
use std::path::Path;

use crate::wait;

/// `TCP_ESTABLISHED` and `TCP_CLOSE_WAIT` of the kernel: a process still has these.
const CONNECTED: [&str; 2] = ["01", "08"];
/// `TCP_TIME_WAIT` and `TCP_LISTEN`.
const IDLE: [&str; 2] = ["06", "0A"];
/// `TCP_LISTEN` of the kernel.
const LISTENING: &str = "0A";

/// A line of the list, as a failed test tells it.
#[derive(Debug)]
pub struct Socket {
    state: String,
    local_port: u16,
    remote_port: u16,
    unacknowledged: u64,
    unread: u64,
    inode: String,
}

impl Socket {
    fn is_connected(&self) -> bool {
        CONNECTED.contains(&self.state.as_str())
    }

    fn is_idle(&self) -> bool {
        IDLE.contains(&self.state.as_str())
    }

    fn is_listening(&self) -> bool {
        self.state == LISTENING
    }
}

/// Connections of this network that a process or the kernel still has: all but `TCP_LISTEN` and
/// `TCP_TIME_WAIT`.
pub fn connections() -> usize {
    list().iter().filter(|socket| !socket.is_idle()).count()
}

/// The same without those of the test's own process.
pub fn of_others() -> Vec<Socket> {
    let descriptors = fs::read_dir("/proc/self/fd").expect("a process has descriptors");
    let ours: HashSet<_> = descriptors
        .flatten()
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .collect();
    let is_ours = |socket: &Socket| ours.contains(Path::new(&format!("socket:[{}]", socket.inode)));
    list()
        .into_iter()
        .filter(|socket| !socket.is_idle() && !is_ours(socket))
        .collect()
}

/// Bytes that connected sockets of this network hold: received and not read, sent and not
/// acknowledged.
pub fn stored() -> u64 {
    let connected = list().into_iter().filter(|socket| !socket.is_idle());
    connected
        .map(|socket| socket.unread + socket.unacknowledged)
        .sum()
}

/// Ports that somebody listens on.
pub fn listening() -> Vec<u16> {
    let mut sockets = list();
    sockets.retain(|socket| socket.is_listening());
    sockets.iter().map(|socket| socket.local_port).collect()
}

/// Waits until whoever listens on `port` has read all that was sent to it.
pub fn until_read(port: u16) {
    wait::until("everything sent has been read", || {
        // Between two sockets of this host, what was written and not acknowledged is on its way.
        list().iter().all(|socket| {
            !(socket.is_connected() && socket.local_port == port && socket.unread > 0
                || socket.is_connected() && socket.remote_port == port && socket.unacknowledged > 0)
        })
    });
}

/// Waits until whoever listens on `port` has closed all connections there, at least for writing.
pub fn until_closed(port: u16) {
    wait::until("the connections are closed", || {
        list()
            .iter()
            .all(|socket| !(socket.is_connected() && socket.local_port == port))
    });
}

/// Waits until the other side's kernel has everything that was written to `stream`.
pub fn until_delivered(stream: &TcpStream) {
    let local_port = stream.local_addr().expect("it is connected").port();
    let remote_port = stream.peer_addr().expect("it is connected").port();
    wait::until("everything sent has been acknowledged", || {
        list().iter().all(|socket| {
            (socket.local_port, socket.remote_port) != (local_port, remote_port)
                || socket.unacknowledged == 0
        })
    });
}

fn list() -> Vec<Socket> {
    ["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"]
        .iter()
        .filter_map(|file| fs::read_to_string(file).ok())
        .flat_map(|text| text.lines().skip(1).filter_map(parse).collect::<Vec<_>>())
        .collect()
}

/// A line of proc_pid_net(5): number, local, remote, state, `tx_queue:rx_queue`, timer, retransmits,
/// user, timeout, inode, and more.
fn parse(line: &str) -> Option<Socket> {
    let mut fields = line.split_whitespace().skip(1);
    let port = |field: &str| u16::from_str_radix(field.rsplit_once(':')?.1, 16).ok();
    let local_port = port(fields.next()?)?;
    let remote_port = port(fields.next()?)?;
    let state = fields.next()?;
    let (sent, received) = fields.next()?.split_once(':')?;
    Some(Socket {
        state: state.to_owned(),
        local_port,
        remote_port,
        unacknowledged: u64::from_str_radix(sent, 16).ok()?,
        unread: u64::from_str_radix(received, 16).ok()?,
        inode: fields.nth(4)?.to_owned(),
    })
}
