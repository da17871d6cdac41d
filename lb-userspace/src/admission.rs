//! How many clients are let in, and how fast.
//!
//! A client is *pending* until its CONNECT is whole, then it has a *seat* until its connection is
//! closed, whoever carries it. A *gate* lets CONNECTs through at a rate; those ahead of their time wait
//! in front of it, in order. A client id that comes too often is held off.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

use crate::config::Rate;

pub mod bucket;
pub mod budget;
pub mod gate;
pub mod holds;
pub mod pending;
pub mod seats;

use budget::Budget;
use holds::{Holds, Key};
use pending::Pending;
use seats::Seats;

/// All that is counted for admission; it lasts while configurations come and go.
#[derive(Debug)]
pub struct Admission {
    pub budget: Budget,
    pub pending: Arc<Pending>,
    pub seats: Arc<Seats>,
    holds: Mutex<Holds>,
    origin: Instant,
}

impl Admission {
    pub fn new(budget: Budget) -> Self {
        Self {
            budget,
            pending: Arc::default(),
            seats: Arc::default(),
            holds: Mutex::default(),
            origin: Instant::now(),
        }
    }

    /// Whether a client id may connect from there now; one that came without an id may.
    ///
    /// # Errors
    ///
    /// It comes too often, and is held off.
    pub fn ask(&self, id: &str, from: Source, rate: Rate) -> Result<(), holds::Held> {
        if id.is_empty() {
            return Ok(());
        }
        let now = self.origin.elapsed();
        let mut holds = self.holds.lock().unwrap_or_else(PoisonError::into_inner);
        let key = holds.key(id, from);
        holds.ask(key, rate, now)
    }

    /// Takes back what `ask` has counted, for a client that was turned away by no fault of its own.
    pub fn forgive(&self, id: &str, from: Source, rate: Rate) {
        let mut holds = self.holds.lock().unwrap_or_else(PoisonError::into_inner);
        let key: Key = holds.key(id, from);
        holds.forgive(key, rate);
    }
}

/// Where clients come from, as far as they are told apart: an IPv4 address, or the first 64 bits of an
/// IPv6 one, which is what one customer or one host gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Source(IpAddr);

impl From<IpAddr> for Source {
    fn from(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            v4 @ IpAddr::V4(_) => v4,
            IpAddr::V6(v6) => {
                let [a, b, c, d, ..] = v6.segments();
                Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::Source;

    fn source(address: &str) -> Source {
        Source::from(address.parse::<IpAddr>().unwrap())
    }

    #[test]
    fn tells_ipv4_addresses_and_ipv6_networks_apart() {
        assert_eq!(source("2001:db8::1"), source("2001:db8::ffff:0:0:1"));
        assert_ne!(source("2001:db8::1"), source("2001:db8:0:1::1"));
        assert_eq!(source("192.0.2.1"), source("::ffff:192.0.2.1"));
        assert_ne!(source("192.0.2.1"), source("192.0.2.2"));
    }
}
