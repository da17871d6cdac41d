//! Which backend a client should go to, and which after that: an order, not a verdict.
//!
//! Nothing here knows whether a backend lives; the session tries them in order.

use std::net::IpAddr;

pub mod rendezvous;
pub mod round_robin;

use rendezvous::Rendezvous;
use round_robin::RoundRobin;

use crate::config;

/// What a choice may depend on.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// Empty where the client has none.
    pub client_id: &'a str,
    pub address: IpAddr,
}

/// A backend as the balancer sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Decides where ids go, so that a new address or place in the file moves none.
    pub name: String,
    /// 1 to 256.
    pub weight: u16,
}

#[derive(Debug)]
pub enum Balancer {
    ClientId(Rendezvous),
    RoundRobin(RoundRobin),
}

impl Balancer {
    pub fn new(by: config::Balance, members: &[Member]) -> Self {
        match by {
            config::Balance::ClientId => Self::ClientId(Rendezvous::new(members)),
            config::Balance::RoundRobin => Self::RoundRobin(RoundRobin::new(members)),
        }
    }

    /// Every member's index once, the best first.
    pub fn candidates(&self, subject: Subject<'_>) -> Vec<usize> {
        match self {
            Self::ClientId(rendezvous) => rendezvous.order(&key(subject)),
            Self::RoundRobin(round_robin) => round_robin.order(),
        }
    }
}

/// The client id; the client's address where it has none.
fn key(subject: Subject<'_>) -> Vec<u8> {
    if !subject.client_id.is_empty() {
        return subject.client_id.as_bytes().to_vec();
    }
    match subject.address.to_canonical() {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Balancer, Member, Subject};
    use crate::config::Balance;

    fn two() -> [Member; 2] {
        ["a", "b"].map(|name| Member {
            name: name.to_owned(),
            weight: 1,
        })
    }

    #[test]
    fn an_empty_client_id_goes_by_address() {
        let balancer = Balancer::new(Balance::ClientId, &two());
        let first = |address: &str| {
            balancer.candidates(Subject {
                client_id: "",
                address: address.parse().unwrap(),
            })[0]
        };

        let firsts: Vec<usize> = (0..32).map(|n| first(&format!("10.0.0.{n}"))).collect();

        assert!(firsts.contains(&0) && firsts.contains(&1));
        assert_eq!(first("10.0.0.1"), first("::ffff:10.0.0.1"));
    }
}
