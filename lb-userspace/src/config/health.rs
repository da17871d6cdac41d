//! How it is found out whether a backend serves, and what follows.

use std::num::{NonZeroU16, NonZeroU32};
use std::path::PathBuf;
use std::time::Duration;

use super::ProxyProtocol;
use super::default;
use super::why::Why;
use crate::mqtt::Version;

/// `[pools.health]`: for each backend of a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    pub check: Check,
    pub rhythm: Rhythm,
    /// Checks in a row that fail until a backend is down; 1 to 100.
    pub fall: NonZeroU32,
    /// Checks in a row that pass until it is up again; 1 to 100.
    pub rise: NonZeroU32,
    pub clients: Clients,
    pub on_dead: OnDead,
    /// Connections of one dead backend that are reset in a second; 1 to 1,000,000.
    pub resets_per_second: NonZeroU32,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            check: Check::Tcp,
            rhythm: Rhythm {
                interval: default::INTERVAL,
                fast_interval: default::FAST_INTERVAL,
                timeout: default::CHECK_TIMEOUT,
                jitter_percent: default::JITTER_PERCENT,
            },
            fall: default::FALL,
            rise: default::RISE,
            clients: Clients {
                max_fails: default::MAX_FAILS,
                fail_timeout: default::FAIL_TIMEOUT,
                fail_on: default::FAIL_ON.to_vec(),
            },
            on_dead: default::ON_DEAD,
            resets_per_second: default::RESETS_PER_SECOND,
        }
    }
}

/// What is asked of a backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Check {
    /// Nothing.
    None,
    /// A TCP connection.
    Tcp,
    /// CONNECT, and DISCONNECT after its CONNACK.
    Mqtt(MqttCheck),
    /// A page.
    Http(HttpCheck),
}

/// When a backend is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rhythm {
    /// Between two checks.
    pub interval: Duration,
    /// The same while the last check disagrees with what is believed.
    pub fast_interval: Duration,
    /// For one check, from the dial to the answer.
    pub timeout: Duration,
    /// The most by which an interval is longer or shorter, in percent; 0 to 50.
    pub jitter_percent: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MqttCheck {
    /// `None` is one of Sluice's own for each backend.
    pub client_id: Option<String>,
    pub version: Version,
    pub credentials: Option<Credentials>,
    /// That of the pool.
    pub proxy_protocol: ProxyProtocol,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpCheck {
    pub port: NonZeroU16,
    /// Begins with a slash; printable ASCII without spaces.
    pub path: String,
    /// At least one; 100 to 599.
    pub status: Vec<u16>,
    /// What the page has in it.
    pub body: Option<String>,
    pub credentials: Option<Credentials>,
}

/// Who asks. The password is read when it is needed, and kept nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    pub user_name: String,
    pub password_file: Option<PathBuf>,
}

/// What clients find, as they are served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clients {
    /// Failures without a client served between them until a backend gets no more clients; `None` is
    /// never.
    pub max_fails: Option<NonZeroU32>,
    /// How long failures count, and how long the backend then gets none.
    pub fail_timeout: Duration,
    /// What is a failure; each once, `Local` never.
    pub fail_on: Vec<Why>,
}

/// What becomes of the connections of a dead backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnDead {
    /// They are reset, at a pace, while another backend of the pool is up.
    Reset,
    Keep,
}
