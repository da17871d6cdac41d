//! Turning a client away: one table from the reason to what is counted, and to what it is told.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use thiserror::Error;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time;

use crate::counters::Counter;
use crate::mqtt::refusal::Refusal;
use crate::mqtt::{Malformed, Version};

/// How long a refused client may take to read why.
const GOODBYE: Duration = Duration::from_secs(1);

/// Why a client was turned away.
#[derive(Debug, Error)]
pub enum Refused {
    #[error("every backend tried refused")]
    ByBackends {
        /// What the last of them that answered said.
        connack: Bytes,
    },
    #[error("client closed before its CONNECT was whole")]
    Closed,
    #[error("client was lost before its CONNECT was whole")]
    Lost(#[source] io::Error),
    #[error("backend `{backend}`, which has the client's session, is away")]
    Held { backend: String, version: Version },
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("no backend of pool `{pool}` answers")]
    NoBackend { pool: String, version: Version },
    #[error("no whole CONNECT in time")]
    TooSlow,
}

/// The label a refusal is counted under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    ByBackends,
    Closed,
    Held,
    Malformed,
    NoBackend,
    TooSlow,
}

impl Reason {
    pub const ALL: [Self; 6] = [
        Self::ByBackends,
        Self::Closed,
        Self::Held,
        Self::Malformed,
        Self::NoBackend,
        Self::TooSlow,
    ];

    pub fn label(self) -> &'static str {
        match self {
            Self::ByBackends => "refused_by_backends",
            Self::Closed => "closed",
            Self::Held => "held",
            Self::Malformed => "malformed",
            Self::NoBackend => "no_backend",
            Self::TooSlow => "too_slow",
        }
    }
}

/// Refusals by reason.
#[derive(Debug, Default)]
pub struct Refusals([Counter; Reason::ALL.len()]);

impl Refusals {
    pub fn count(&self, reason: Reason) {
        self.0[reason as usize].add(1);
    }

    pub fn each(&self) -> impl Iterator<Item = (Reason, u64)> {
        Reason::ALL
            .into_iter()
            .map(|reason| (reason, self.0[reason as usize].value()))
    }
}

impl Refused {
    pub fn reason(&self) -> Reason {
        match self {
            Self::ByBackends { .. } => Reason::ByBackends,
            Self::Closed | Self::Lost(_) => Reason::Closed,
            Self::Held { .. } => Reason::Held,
            Self::Malformed(_) => Reason::Malformed,
            Self::NoBackend { .. } => Reason::NoBackend,
            Self::TooSlow => Reason::TooSlow,
        }
    }

    /// What the client is told, where its version has words for it.
    fn connack(&self) -> Option<Bytes> {
        match self {
            Self::ByBackends { connack } => Some(connack.clone()),
            Self::Closed | Self::Lost(_) | Self::TooSlow => None,
            Self::Malformed(malformed) => Refusal::from(*malformed).connack(malformed.version),
            Self::Held { version, .. } | Self::NoBackend { version, .. } => {
                Refusal::ServerUnavailable.connack(Some(*version))
            }
        }
    }
}

/// Tells the client why, and closes when it has read that.
pub(super) async fn answer(mut client: TcpStream, refused: &Refused) {
    let Some(connack) = refused.connack() else {
        return;
    };
    let tell = async {
        client.write_all(&connack).await?;
        client.shutdown().await?;
        // A close with unread bytes is a reset, and the reset could overtake the CONNACK.
        let mut ignored = [0; 512];
        while client.read(&mut ignored).await? > 0 {}
        io::Result::Ok(())
    };
    match time::timeout(GOODBYE, tell).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::trace!(%error, "client went before it read why"),
        Err(_) => tracing::trace!("client did not close in time"),
    }
}
