//! What `sluice explain` and `sluice simulate` ask and tell; the JSON of `--json` is these types.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// A client that may or may not exist.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// The first of the configuration where none is named.
    pub listener: Option<String>,
    /// What it asks for by TLS, and what is agreed on there.
    pub sni: Option<String>,
    pub alpn: Option<String>,
    pub client_id: String,
    pub user_name: Option<String>,
    pub source: IpAddr,
    /// The protocol level: 3, 4 or 5.
    pub level: u8,
    pub clean_start: bool,
}

/// Where that client would go now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    pub listener: String,
    /// None where no route matches.
    pub route: Option<String>,
    pub pool: String,
    /// The backend it was remembered with.
    pub remembered: Option<String>,
    /// Why just these are tried.
    pub because: String,
    /// What is tried, the best first.
    pub candidates: Vec<String>,
    /// What is not tried, and why.
    pub skipped: Vec<Skipped>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    pub backend: String,
    pub because: String,
}

/// A change of a pool that is only thought of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Thought {
    /// Another backend, in the pool of this name, or in the only one.
    Add {
        pool: Option<String>,
        backend: String,
        /// 1 to 256.
        weight: u16,
    },
    Weigh {
        backend: String,
        /// 0 to 256; 0 is as if the backend were removed.
        weight: u16,
    },
}

/// What the change would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Simulation {
    pub pool: String,
    /// Client ids that were looked at.
    pub ids: u64,
    /// Whether they are those of clients, or made up.
    pub of_clients: bool,
    /// Those that would go to another backend than now.
    pub moved: u64,
}
