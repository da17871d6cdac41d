//! What an operator can ask of backends and pools.

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

/// A change that lasts until it is taken back, over restarts too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// No new clients; those that are there stay.
    Disable { backend: String },
    /// No new clients, and those that are there are ended.
    Drain {
        backend: String,
        /// Connections a second.
        pace: NonZeroU32,
        /// Seconds after which none is to be left.
        within: Option<u64>,
    },
    /// Takes back a `Disable`.
    Enable { backend: String },
    /// Ends connections of backends that have too many, once.
    Rebalance {
        /// All pools if none is named.
        pool: Option<String>,
        /// Connections a second, for each backend.
        pace: NonZeroU32,
    },
    /// Takes back a `Drain`; what has been ended by then is not undone.
    Undrain { backend: String },
}
