//! Turning a client away: one table from the reason to what is counted, and to what it is told.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use thiserror::Error;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Semaphore;
use tokio::time;

use crate::admission::pending::CrowdedOut;
use crate::admission::seats::Full;
use crate::counters::Counter;
use crate::mqtt::refusal::Refusal;
use crate::mqtt::{Malformed, Version};
use crate::stream::Stream;

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
    #[error("every backend of pool `{pool}` that could take it is full")]
    BackendsFull { pool: String, version: Version },
    #[error("client closed before its CONNECT was whole")]
    Closed,
    #[error("{} have no whole CONNECT either, and are younger", match .0 {
        CrowdedOut::Bytes => "others that need the room for its bytes",
        CrowdedOut::Places => "too many others",
    })]
    CrowdedOut(CrowdedOut),
    #[error("{}", match full {
        Full::All => "there are `limits.max_connections` clients",
        Full::Daemon => "there are no descriptors for more clients that the daemon carries",
        Full::Listener => "the listener has as many clients as it may have",
        Full::Source => "there are `limits.max_connections_per_source` clients from its source",
    })]
    Full { full: Full, version: Version },
    #[error("client closed while it waited for its turn")]
    GaveUp,
    #[error("client was lost before its CONNECT was whole")]
    Lost(#[source] io::Error),
    #[error("backend `{backend}`, which has the client's session, is away")]
    Held { backend: String, version: Version },
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("no backend of pool `{pool}` answers")]
    NoBackend { pool: String, version: Version },
    #[error("{}", match pace {
        Pace::Backend => "its turn at the backend would come too late",
        Pace::Client => "its client id comes too often",
        Pace::Listener => "its turn at the listener would come too late",
    })]
    TooFast { pace: Pace, version: Version },
    #[error("no TLS with this client: {0}")]
    Tls(#[source] io::Error),
    #[error("no whole CONNECT in time")]
    TooSlow,
    #[error("MQTT {0} is not served here")]
    VersionNotServed(Version),
}

/// What has a rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    Backend,
    Client,
    Listener,
}

/// The label a refusal is counted under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    AllFull,
    BackendRate,
    BackendsFull,
    ByBackends,
    ClientRate,
    Closed,
    CrowdedOut,
    DaemonFull,
    GaveUp,
    Held,
    ListenerFull,
    ListenerRate,
    Malformed,
    NoBackend,
    PendingBytes,
    SourceFull,
    Tls,
    TooSlow,
    VersionNotServed,
}

impl Reason {
    pub const ALL: [Self; 19] = [
        Self::AllFull,
        Self::BackendRate,
        Self::BackendsFull,
        Self::ByBackends,
        Self::ClientRate,
        Self::Closed,
        Self::CrowdedOut,
        Self::DaemonFull,
        Self::GaveUp,
        Self::Held,
        Self::ListenerFull,
        Self::ListenerRate,
        Self::Malformed,
        Self::NoBackend,
        Self::PendingBytes,
        Self::SourceFull,
        Self::Tls,
        Self::TooSlow,
        Self::VersionNotServed,
    ];

    pub fn label(self) -> &'static str {
        match self {
            Self::AllFull => "max_connections",
            Self::BackendRate => "backend_rate",
            Self::BackendsFull => "backends_full",
            Self::ByBackends => "refused_by_backends",
            Self::ClientRate => "client_rate",
            Self::Closed => "closed",
            Self::Held => "held",
            Self::CrowdedOut => "crowded_out",
            Self::DaemonFull => "no_descriptors",
            Self::GaveUp => "gave_up",
            Self::ListenerFull => "listener_full",
            Self::ListenerRate => "listener_rate",
            Self::Malformed => "malformed",
            Self::NoBackend => "no_backend",
            Self::PendingBytes => "pending_bytes",
            Self::SourceFull => "source_full",
            Self::Tls => "tls",
            Self::TooSlow => "too_slow",
            Self::VersionNotServed => "version_not_served",
        }
    }
}

/// Refusals by reason, and room for those who are told.
#[derive(Debug)]
pub struct Refusals {
    by_reason: [Counter; Reason::ALL.len()],
    /// For clients that are given time to read why.
    goodbyes: Semaphore,
    /// Clients that were not, since too many others were.
    pub hurried: Counter,
}

impl Refusals {
    /// With room for so many that are told at a time.
    pub fn new(goodbyes: usize) -> Self {
        Self {
            by_reason: Default::default(),
            goodbyes: Semaphore::new(goodbyes),
            hurried: Counter::default(),
        }
    }

    pub fn count(&self, reason: Reason) {
        self.by_reason[reason as usize].add(1);
    }

    pub fn each(&self) -> impl Iterator<Item = (Reason, u64)> {
        Reason::ALL
            .into_iter()
            .map(|reason| (reason, self.by_reason[reason as usize].value()))
    }
}

impl Refused {
    pub fn reason(&self) -> Reason {
        match self {
            Self::BackendsFull { .. } => Reason::BackendsFull,
            Self::ByBackends { .. } => Reason::ByBackends,
            Self::Closed | Self::Lost(_) => Reason::Closed,
            Self::Held { .. } => Reason::Held,
            Self::CrowdedOut(why) => match why {
                CrowdedOut::Bytes => Reason::PendingBytes,
                CrowdedOut::Places => Reason::CrowdedOut,
            },
            Self::Full { full, .. } => match full {
                Full::All => Reason::AllFull,
                Full::Daemon => Reason::DaemonFull,
                Full::Listener => Reason::ListenerFull,
                Full::Source => Reason::SourceFull,
            },
            Self::GaveUp => Reason::GaveUp,
            Self::Malformed(_) => Reason::Malformed,
            Self::NoBackend { .. } => Reason::NoBackend,
            Self::TooFast { pace, .. } => match pace {
                Pace::Backend => Reason::BackendRate,
                Pace::Client => Reason::ClientRate,
                Pace::Listener => Reason::ListenerRate,
            },
            Self::Tls(_) => Reason::Tls,
            Self::TooSlow => Reason::TooSlow,
            Self::VersionNotServed(_) => Reason::VersionNotServed,
        }
    }

    /// What the client is told, where its version has words for it.
    fn connack(&self) -> Option<Bytes> {
        match self {
            Self::ByBackends { connack } => Some(connack.clone()),
            Self::Closed | Self::CrowdedOut(_) | Self::GaveUp | Self::Lost(_) | Self::TooSlow => {
                None
            }
            Self::BackendsFull { version, .. } | Self::Full { version, .. } => {
                Refusal::QuotaExceeded.connack(Some(*version))
            }
            Self::Malformed(malformed) => Refusal::from(*malformed).connack(malformed.version),
            Self::Held { version, .. } | Self::NoBackend { version, .. } => {
                Refusal::ServerUnavailable.connack(Some(*version))
            }
            // It has been told by an alert.
            Self::Tls(_) => Some(Bytes::new()),
            Self::TooFast { version, .. } => {
                Refusal::ConnectionRateExceeded.connack(Some(*version))
            }
            Self::VersionNotServed(version) => Refusal::VersionNotServed.connack(Some(*version)),
        }
    }
}

/// Tells the client why, and closes when it has read that.
pub(super) async fn answer(mut client: Stream, refused: &Refused, refusals: &Refusals) {
    let Some(connack) = refused.connack() else {
        client.say_goodbye();
        return;
    };
    let Ok(_room) = refusals.goodbyes.try_acquire() else {
        refusals.hurried.add(1);
        // Most hear it all the same.
        if let Err(error) = client.try_write(&connack) {
            tracing::trace!(%error, "client went before it was told why");
        }
        return;
    };
    if matches!(refused, Refused::TooFast { .. }) {
        // Those who are told at the same moment come back at the same moment.
        time::sleep(GOODBYE.mul_f64(chance())).await;
    }
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

/// From 0 to 1.
fn chance() -> f64 {
    // Each has keys of its own, made from random ones of the thread.
    let random = RandomState::new().hash_one(0_u8);
    f64::from(u16::try_from(random >> 48).unwrap_or_default()) / f64::from(u16::MAX)
}
