//! What an operator changes while the balancer runs.

use std::num::NonZeroU32;

use clap::Subcommand;

use super::Asking;
use crate::config::units;
use crate::control::operate::Change;

#[derive(Debug, Subcommand)]
pub(super) enum Operate {
    /// Take a backend out of service: no new clients, and those it has are ended, idle ones first
    Drain {
        #[arg(value_name = "BACKEND")]
        backend: String,
        /// How many connections end each second
        #[arg(long, value_name = "N/s", default_value = "100/s", value_parser = pace)]
        rate: NonZeroU32,
        /// When none is to be left, such as 10m; the rate is exceeded where it is too low for that
        #[arg(long, value_name = "TIME", value_parser = seconds)]
        deadline: Option<u64>,
        #[command(flatten)]
        asking: Asking,
    },
    /// Take back a drain
    Undrain {
        #[arg(value_name = "BACKEND")]
        backend: String,
        #[command(flatten)]
        asking: Asking,
    },
    /// Give a backend no new clients; those it has stay
    Disable {
        #[arg(value_name = "BACKEND")]
        backend: String,
        #[command(flatten)]
        asking: Asking,
    },
    /// Give a disabled backend clients again
    Enable {
        #[arg(value_name = "BACKEND")]
        backend: String,
        #[command(flatten)]
        asking: Asking,
    },
    /// End connections of backends that have more than their share, so that they come back elsewhere
    Rebalance {
        /// One pool; all if none is named
        #[arg(value_name = "POOL")]
        pool: Option<String>,
        /// How many connections of a backend end each second at most
        #[arg(long, value_name = "N/s", default_value = "100/s", value_parser = pace)]
        max_rate: NonZeroU32,
        #[command(flatten)]
        asking: Asking,
    },
}

impl Operate {
    pub(super) fn request(self) -> (Change, Asking) {
        match self {
            Self::Drain {
                backend,
                rate,
                deadline,
                asking,
            } => {
                let (pace, within) = (rate, deadline);
                let drain = Change::Drain {
                    backend,
                    pace,
                    within,
                };
                (drain, asking)
            }
            Self::Undrain { backend, asking } => (Change::Undrain { backend }, asking),
            Self::Disable { backend, asking } => (Change::Disable { backend }, asking),
            Self::Enable { backend, asking } => (Change::Enable { backend }, asking),
            Self::Rebalance {
                pool,
                max_rate,
                asking,
            } => {
                let pace = max_rate;
                (Change::Rebalance { pool, pace }, asking)
            }
        }
    }
}

fn pace(text: &str) -> Result<NonZeroU32, String> {
    let text = text.trim();
    let number = text.strip_suffix("/s").unwrap_or(text);
    number
        .trim_end()
        .parse()
        .ok()
        .ok_or_else(|| "write connections a second, at least 1, such as \"100/s\"".to_owned())
}

fn seconds(text: &str) -> Result<u64, String> {
    units::duration(text)
        .map(|time| time.as_secs())
        .map_err(|fault| format!("{}: {}", fault.problem, fault.remedy))
}
