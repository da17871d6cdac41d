//! One daemon takes the place of another: the sockets first, then the tables in the kernel, then the
//! clients.
//!
//! ```text
//! successor                             predecessor
//! hand_over ──────────────────────────▶ gives its sockets, serves on
//! release ────────────────────────────▶ accepts nobody, sees to those it has accepted,
//!         ◀──────────────────── released  leaves the tables alone
//! loads, adopts, serves
//! serving ────────────────────────────▶ carries what it copies to the end
//! ```
//!
//! Whoever connects in between waits in the queues of the sockets, which both have. A successor that
//! ends before it serves is noticed, and the predecessor goes on.

use std::io::{self, BufRead as _, BufReader, IoSlice, Read as _, Write as _};
use std::net::TcpListener;
use std::os::fd::{AsRawFd as _, RawFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, Interest};
use tokio::time;

use super::sockets::Sockets;
use crate::control::{Predecessor, Reply, Request};
use crate::session::World;
use crate::sys;

/// Descriptors in one message.
const AT_ONCE: usize = 128;
/// How long a successor may take from one word to the next.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long whoever has been accepted may take to get into the kernel.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Between two looks at them; longer than a task takes to begin or to install its flows.
const LOOK: Duration = Duration::from_millis(50);

const RELEASE: &str = "release";
const RELEASED: &str = "released";
const SERVING: &str = "serving";

/// The daemon before this one, as this one sees it.
#[derive(Debug)]
pub(super) struct Former {
    stream: UnixStream,
    pub who: Predecessor,
}

impl Former {
    /// Asks the daemon behind `control` for its sockets.
    pub(super) fn ask(control: &Path) -> io::Result<(Self, Vec<TcpListener>)> {
        let mut stream = UnixStream::connect(control)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut request = serde_json::to_vec(&Request::HandOver)?;
        request.push(b'\n');
        stream.write_all(&request)?;
        let reply = serde_json::from_str(&line(&stream)?)?;
        let Reply::HandOver(who) = reply else {
            return Err(io::Error::other(format!("it answers {reply:?}")));
        };
        let mut sockets = Vec::new();
        while sockets.len() < who.sockets {
            let received = sys::receive_descriptors(&stream)?;
            sockets.extend(received.into_iter().map(TcpListener::from));
        }
        Ok((Self { stream, who }, sockets))
    }

    /// Has it leave the tables and the clients to come to us.
    pub(super) fn release(&mut self) -> io::Result<()> {
        writeln!(self.stream, "{RELEASE}")?;
        match line(&self.stream)?.trim_end() {
            RELEASED => Ok(()),
            other => Err(io::Error::other(format!("it answers {other:?}"))),
        }
    }

    /// Lets it go.
    pub(super) fn dismiss(mut self) -> io::Result<()> {
        writeln!(self.stream, "{SERVING}")
    }
}

/// Byte by byte, as descriptors come with the byte behind it.
fn line(stream: &UnixStream) -> io::Result<String> {
    let mut line = String::new();
    BufReader::with_capacity(1, stream.take(4096)).read_line(&mut line)?;
    Ok(line)
}

/// What became of an offer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Offer {
    Taken,
    Refused,
}

/// Hands over to who is at the other end of `stream`; where that does not come to its end, clients are
/// accepted as before.
pub(super) async fn hand_over(
    stream: tokio::net::UnixStream,
    since: u64,
    world: &World,
    sockets: &mut Sockets,
) -> Offer {
    let pid = stream.peer_cred().ok().and_then(|who| who.pid());
    let Err(error) = converse(stream, since, world, sockets).await else {
        tracing::info!(pid, "another daemon has taken the place of this one");
        if let Some(pid) = pid {
            sockets.notify().replaced_by(pid);
        }
        return Offer::Taken;
    };
    tracing::warn!(%error, "no other daemon takes the place of this one");
    if let Err(error) = sockets.resume() {
        tracing::error!(%error, "clients are not accepted any more");
    }
    Offer::Refused
}

async fn converse(
    mut stream: tokio::net::UnixStream,
    since: u64,
    world: &World,
    sockets: &Sockets,
) -> io::Result<()> {
    let descriptors = sockets.descriptors();
    let who = Predecessor {
        pid: std::process::id(),
        since,
        sockets: descriptors.len(),
    };
    let mut reply = serde_json::to_vec(&Reply::HandOver(who))?;
    reply.push(b'\n');
    stream.write_all(&reply).await?;
    for some in descriptors.chunks(AT_ONCE) {
        let send = || send(stream.as_raw_fd(), some);
        stream.async_io(Interest::WRITABLE, send).await?;
    }
    let mut stream = tokio::io::BufReader::new(&mut stream);
    expect(&mut stream, RELEASE).await?;
    sockets.pause();
    release(world).await;
    stream.write_all(format!("{RELEASED}\n").as_bytes()).await?;
    expect(&mut stream, SERVING).await
}

fn send(to: RawFd, descriptors: &[RawFd]) -> io::Result<()> {
    let rights = [ControlMessage::ScmRights(descriptors)];
    let byte = [IoSlice::new(b".")];
    sendmsg::<()>(to, &byte, &rights, MsgFlags::MSG_NOSIGNAL, None)?;
    Ok(())
}

async fn expect(
    stream: &mut tokio::io::BufReader<&mut tokio::net::UnixStream>,
    word: &str,
) -> io::Result<()> {
    let mut line = String::new();
    time::timeout(PATIENCE, stream.read_line(&mut line)).await??;
    if line.trim_end() == word {
        return Ok(());
    }
    Err(io::Error::other("it went before it served"))
}

/// Lets those who have been accepted come through, for a moment; who is later is copied.
async fn release(world: &World) {
    let all_came = async {
        time::sleep(LOOK).await;
        while world.coming.value() > 0 {
            time::sleep(LOOK).await;
        }
    };
    if time::timeout(LAST_WORDS, all_came).await.is_err() {
        tracing::debug!(count = world.coming.value(), "are copied");
    }
    world.release();
    // Who had chosen before has installed its flows after this.
    time::sleep(LOOK).await;
}
