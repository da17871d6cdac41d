//! A backend that answers the CONNECT, tried in the order the balancer gave.

use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use thiserror::Error;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time;

use super::refuse::Refused;
use crate::dial::{self, Dialled, Shape};
use crate::kernel::ports::Port;
use crate::mqtt::Malformed;
use crate::mqtt::connack::{self, First};
use crate::mqtt::connect::Connect;
use crate::upstream::{Backend, Pool};

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
}

/// The first of `candidates` that answers.
pub(super) async fn first<'a>(
    candidates: impl Iterator<Item = &'a Arc<Backend>>,
    connect: &Connect,
    pool: &Pool,
    shape: impl Fn() -> Option<Shape<'a>>,
) -> Result<Opened, Refused> {
    for backend in candidates {
        match open(backend, connect, pool, shape()).await {
            Ok(opened) => return Ok(opened),
            Err(unusable) => {
                backend.failed.add(1);
                tracing::debug!(
                    backend = %backend.name,
                    because = std::error::Error::source(&unusable).map(tracing::field::display),
                    "passed over: it {unusable}"
                );
            }
        }
    }
    Err(Refused::NoBackend {
        pool: pool.name.clone(),
        version: connect.version(),
    })
}

async fn open(
    backend: &Arc<Backend>,
    connect: &Connect,
    pool: &Pool,
    shape: Option<Shape<'_>>,
) -> Result<Opened, Unusable> {
    let dialled = dial::dial(backend.address(), pool.dial_timeout, shape).await;
    let Dialled {
        stream: mut broker,
        port,
    } = dialled.map_err(Unusable::Dial)?;
    let (first, received) = time::timeout(pool.connack_timeout, ask(&mut broker, connect))
        .await
        .unwrap_or(Err(Unusable::Silent))?;
    Ok(Opened {
        broker,
        port,
        backend: Arc::clone(backend),
        first,
        received,
    })
}

async fn ask(broker: &mut TcpStream, connect: &Connect) -> Result<(First, Bytes), Unusable> {
    broker
        .write_all(connect.bytes())
        .await
        .map_err(Unusable::Lost)?;
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
