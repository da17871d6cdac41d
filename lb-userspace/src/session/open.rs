//! A backend that answers the CONNECT, tried in the order the balancer gave.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use thiserror::Error;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{self, Instant};

use super::admit::Patience;
use super::refuse::{Pace, Refused};
use crate::config::why::Why;
use crate::dial::{self, Dialled, Shape, Target};
use crate::kernel::ports::Port;
use crate::mqtt::Malformed;
use crate::mqtt::connack::{self, First};
use crate::mqtt::connect::Connect;
use crate::mqtt::not_me::NotMe;
use crate::upstream::{Backend, Expected, Pool, Unavailable};

/// The longest first answer of a backend that is read.
const FIRST_BYTES: usize = 64 * 1024;
/// Room made for each read.
const READ_BYTES: usize = 512;

/// A backend that answered.
#[derive(Debug)]
pub(super) struct Opened {
    pub broker: TcpStream,
    /// The source port, where it is ours to keep.
    pub port: Option<Port>,
    pub backend: Arc<Backend>,
    pub first: First,
    /// All it has sent so far; none of it has been passed on.
    pub received: Bytes,
}

/// What a backend hears first.
#[derive(Debug)]
pub(super) struct Introduction<'a> {
    pub connect: &'a Connect,
    /// The PROXY protocol header, or nothing.
    pub header: Bytes,
}

/// Why a backend was passed over.
#[derive(Debug, Error)]
enum Unusable {
    #[error("does not accept connections")]
    Dial(#[source] io::Error),
    #[error("was lost before its CONNACK")]
    Lost(#[source] io::Error),
    #[error("closed before its CONNACK")]
    Closed,
    #[error("sent no CONNACK in time")]
    Silent,
    #[error("answered with something else than a CONNACK")]
    Garbled(#[source] Malformed),
    #[error("refused the client: {}", .0.label())]
    NotMe(NotMe, Bytes),
}

impl Unusable {
    fn why(&self) -> Why {
        match self {
            Self::Dial(error) if dial::is_local(error) => Why::Local,
            Self::Dial(_) => Why::Unreachable,
            Self::Lost(_) | Self::Closed => Why::Lost,
            Self::Silent => Why::Silent,
            Self::Garbled(_) => Why::Garbled,
            Self::NotMe(not_me, _) => Why::NotMe(*not_me),
        }
    }
}

/// The first of `candidates` that answers, and does not send the client elsewhere; and the place that
/// the client has there until it is registered.
///
/// If none is left, the client hears what the last of them said that said anything, else that one had
/// no place left for it, or that none could be reached.
pub(super) async fn first<'a>(
    candidates: impl Iterator<Item = &'a Arc<Backend>>,
    introduction: &Introduction<'_>,
    pool: &Pool,
    shape: impl Fn() -> Option<Shape<'a>>,
    patience: &mut Patience<'_>,
) -> Result<(Opened, Expected), Refused> {
    let connect = introduction.connect;
    let mut said = None;
    let mut was_full = false;
    let mut waiting: VecDeque<_> = candidates.map(|backend| (backend, Turn::First)).collect();
    while let Some((backend, turn)) = waiting.pop_front() {
        let Some(expected) = backend.expect() else {
            was_full = true;
            continue;
        };
        let now = Instant::now();
        if turn == Turn::First && !backend.learn(now, |vitals| vitals.admits(&pool.health, now)) {
            waiting.push_back((backend, Turn::Last));
            continue;
        }
        let before = backend.available();
        let token = patience.pass(&backend.gate, Pace::Backend).await?;
        if backend.available() != before && is_withdrawn(backend) {
            token.give_back();
            continue;
        }
        let answer = open(backend, introduction, pool, shape()).await;
        note(backend, &answer, connect, pool);
        let unusable = match answer {
            Ok(opened) => return Ok((opened, expected)),
            Err(unusable) => unusable,
        };
        if let Unusable::Dial(_) = unusable {
            token.give_back();
        }
        backend.passed_over.count(unusable.why());
        tracing::debug!(
            backend = %backend.name,
            because = std::error::Error::source(&unusable).map(tracing::field::display),
            "passed over: it {unusable}"
        );
        if let Unusable::NotMe(_, connack) = unusable {
            said = Some(connack);
        }
    }
    Err(match said {
        Some(connack) => Refused::ByBackends { connack },
        None if was_full => Refused::BackendsFull {
            pool: pool.name.clone(),
            version: connect.version(),
        },
        None => Refused::NoBackend {
            pool: pool.name.clone(),
            version: connect.version(),
        },
    })
}

/// When a candidate is tried: one on which another client is on trial comes after all others.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    First,
    Last,
}

/// What the answer to one client says about the backend.
fn note(backend: &Backend, answer: &Result<Opened, Unusable>, connect: &Connect, pool: &Pool) {
    let why = match answer {
        Ok(opened) => not_me(&opened.first, connect).map(|(not_me, _)| Why::NotMe(not_me)),
        Err(unusable) => Some(unusable.why()),
    };
    let now = Instant::now();
    backend.learn(now, |vitals| match why {
        Some(why) => vitals.failed(why, &pool.health, now),
        None => vitals.served(),
    });
}

/// The answer that sends a client elsewhere, and its length.
fn not_me(first: &First, connect: &Connect) -> Option<(NotMe, usize)> {
    match first {
        First::Connack(connack) => Some((NotMe::of(connect.version(), connack)?, connack.len)),
        First::Auth => None,
    }
}

/// Whether it gets no clients any more, for whatever reason but that it has enough.
fn is_withdrawn(backend: &Backend) -> bool {
    match backend.available() {
        Ok(()) | Err(Unavailable::Failing | Unavailable::Full) => false,
        Err(
            Unavailable::Disabled | Unavailable::Down | Unavailable::Draining | Unavailable::Gone,
        ) => true,
    }
}

async fn open(
    backend: &Arc<Backend>,
    introduction: &Introduction<'_>,
    pool: &Pool,
    shape: Option<Shape<'_>>,
) -> Result<Opened, Unusable> {
    let dialled = dial::dial(target(backend), pool.dial_timeout, shape).await;
    let Dialled {
        stream: mut broker,
        port,
    } = dialled.map_err(Unusable::Dial)?;
    let (first, received) = time::timeout(pool.connack_timeout, ask(&mut broker, introduction))
        .await
        .unwrap_or(Err(Unusable::Silent))?;
    if let Some((not_me, len)) = not_me(&first, introduction.connect)
        && pool.retry_on.contains(&not_me)
    {
        return Err(Unusable::NotMe(not_me, received.slice(..len)));
    }
    Ok(Opened {
        broker,
        port,
        backend: Arc::clone(backend),
        first,
        received,
    })
}

fn target(backend: &Backend) -> Target {
    Target {
        address: backend.address(),
        sources: backend.sources.in_turn(),
    }
}

async fn ask(
    broker: &mut TcpStream,
    Introduction { connect, header }: &Introduction<'_>,
) -> Result<(First, Bytes), Unusable> {
    let written = if header.is_empty() {
        broker.write_all(connect.bytes()).await
    } else {
        let both = [&header[..], connect.bytes()].concat();
        broker.write_all(&both).await
    };
    written.map_err(Unusable::Lost)?;
    let mut received = BytesMut::new();
    loop {
        received.reserve(READ_BYTES);
        let count = broker.read_buf(&mut received).await;
        if count.map_err(Unusable::Lost)? == 0 {
            return Err(Unusable::Closed);
        }
        let first = connack::decode(connect.version(), &received, FIRST_BYTES);
        if let Some(first) = first.map_err(Unusable::Garbled)? {
            return Ok((first, received.freeze()));
        }
    }
}
