//! Which backend a client should go to, and which after that: an order, not a verdict.
//!
//! Nothing here knows whether a backend lives: one that gets no new client has no share. Backups
//! come after every other, so they are used where none of the others can be.

use std::net::IpAddr;
use std::num::NonZeroU16;

pub mod random;
pub mod rendezvous;
pub mod round_robin;

use random::Random;
use rendezvous::Rendezvous;
use round_robin::RoundRobin;

use crate::config::{self, Tier};

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
    pub tier: Tier,
}

/// A member at the moment of a choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// Its part of new clients, in thousandths of a weight, 0 to 256,000; 0 gets none.
    pub share: u32,
    /// Sessions open now.
    pub connections: u64,
}

/// A member that can be chosen.
#[derive(Debug, Clone, Copy)]
struct Eligible {
    index: usize,
    /// Not 0.
    share: u32,
    connections: u64,
}

impl Eligible {
    /// Orders by connections for each unit of share.
    fn cmp_load(&self, other: &Self) -> std::cmp::Ordering {
        let load = |one: &Self, two: &Self| u128::from(one.connections) * u128::from(two.share);
        load(self, other).cmp(&load(other, self))
    }
}

/// A clone has turns of its own: asking it changes nothing here.
#[derive(Debug, Clone)]
pub struct Balancer {
    by: By,
    tiers: Vec<Tier>,
    /// In percent of its fair part of all connections, what a hash may put on one member.
    load_bound: Option<NonZeroU16>,
}

#[derive(Debug, Clone)]
enum By {
    ClientId(Rendezvous),
    First,
    LeastConnections(RoundRobin),
    Random(Random),
    RoundRobin(RoundRobin),
    Source(Rendezvous),
}

impl Balancer {
    pub fn new(by: config::Balance, load_bound: Option<NonZeroU16>, members: &[Member]) -> Self {
        let round_robin = || RoundRobin::new(members.len());
        Self {
            by: match by {
                config::Balance::ClientId => By::ClientId(Rendezvous::new(members)),
                config::Balance::First => By::First,
                config::Balance::LeastConnections => By::LeastConnections(round_robin()),
                config::Balance::Random => By::Random(Random::new(members)),
                config::Balance::RoundRobin => By::RoundRobin(round_robin()),
                config::Balance::Source => By::Source(Rendezvous::new(members)),
            },
            tiers: members.iter().map(|member| member.tier).collect(),
            load_bound,
        }
    }

    /// The same with another member, behind the others and no backup, for balancers with a
    /// [`Self::home`]; turns have no place for it.
    pub fn with_member(&self, name: &str) -> Self {
        let mut grown = self.clone();
        grown.tiers.push(Tier::Primary);
        if let By::ClientId(rendezvous) | By::Source(rendezvous) = &mut grown.by {
            rendezvous.push(name);
        }
        grown
    }

    /// Whether a client that comes back is sent to where it was, if nothing else has changed.
    pub fn goes_by_client(&self) -> bool {
        match self.by {
            By::ClientId(_) | By::First | By::Source(_) => true,
            By::LeastConnections(_) | By::Random(_) | By::RoundRobin(_) => false,
        }
    }

    /// Whether the address of a client decides, and its id does not.
    pub fn goes_by_address(&self) -> bool {
        matches!(self.by, By::Source(_))
    }

    /// The index of the member that a client belongs to and would be sent to, where that goes by the
    /// client: none while a bound keeps it from there.
    pub fn home(&self, subject: Subject<'_>, loads: &[Load]) -> Option<usize> {
        let first = |bound| self.order_within(bound, subject, loads).first().copied();
        let home = first(None).filter(|_| self.goes_by_client())?;
        (self.load_bound.is_none() || first(self.load_bound) == Some(home)).then_some(home)
    }

    /// Loads without the shares of those that get no client while others serve.
    pub fn serving(&self, loads: &[Load]) -> Vec<Load> {
        let tiers = [Tier::Primary, Tier::Backup];
        let serves = |tier: &Tier| !self.eligible(*tier, loads).is_empty();
        let serving = tiers.into_iter().find(serves);
        let load = |(tier, load): (&Tier, &Load)| Load {
            share: if serving == Some(*tier) {
                load.share
            } else {
                0
            },
            ..*load
        };
        self.tiers.iter().zip(loads).map(load).collect()
    }

    /// The index of every member that has a share once, the best first.
    ///
    /// `loads` are in the order of the members.
    pub fn order(&self, subject: Subject<'_>, loads: &[Load]) -> Vec<usize> {
        self.order_within(self.load_bound, subject, loads)
    }

    fn order_within(
        &self,
        bound: Option<NonZeroU16>,
        subject: Subject<'_>,
        loads: &[Load],
    ) -> Vec<usize> {
        [Tier::Primary, Tier::Backup]
            .into_iter()
            .flat_map(|tier| self.order_of(subject, self.eligible(tier, loads), bound))
            .collect()
    }

    fn eligible(&self, tier: Tier, loads: &[Load]) -> Vec<Eligible> {
        let members = self.tiers.iter().zip(loads).enumerate();
        members
            .filter(|(_, (its, load))| **its == tier && load.share > 0)
            .map(|(index, (_, load))| Eligible {
                index,
                share: load.share,
                connections: load.connections,
            })
            .collect()
    }

    fn order_of(
        &self,
        subject: Subject<'_>,
        among: Vec<Eligible>,
        bound: Option<NonZeroU16>,
    ) -> Vec<usize> {
        match &self.by {
            By::ClientId(rendezvous) => {
                let order = rendezvous.order(&id_key(subject), &among);
                bounded(order, &among, bound)
            }
            By::First => among.iter().map(|member| member.index).collect(),
            By::LeastConnections(turns) => least_loaded(among, turns),
            By::Random(random) => random.order(&among),
            By::RoundRobin(turns) => turns.order(&among),
            By::Source(rendezvous) => {
                let order = rendezvous.order(&address_key(subject.address), &among);
                bounded(order, &among, bound)
            }
        }
    }
}

/// Puts members that have more than the bound behind the others.
///
/// As in "Consistent hashing with bounded loads" (Mirrokni, Thorup and Zadimoghaddam, 2018).
fn bounded(order: Vec<usize>, among: &[Eligible], bound: Option<NonZeroU16>) -> Vec<usize> {
    let Some(bound) = bound else {
        return order;
    };
    let connections: u128 = among.iter().map(|one| u128::from(one.connections)).sum();
    let shares: u128 = among.iter().map(|one| u128::from(one.share)).sum();
    let has_room = |index: &usize| {
        let member = among.iter().find(|member| member.index == *index);
        member.is_none_or(|member| {
            let fair = (connections + 1) * u128::from(member.share) * u128::from(bound.get());
            u128::from(member.connections) < fair.div_ceil(shares * 100)
        })
    };
    let (room, full): (Vec<usize>, Vec<usize>) = order.into_iter().partition(has_room);
    [room, full].concat()
}

/// The fewest connections for its share first; those that are equal take turns.
fn least_loaded(mut among: Vec<Eligible>, turns: &RoundRobin) -> Vec<usize> {
    among.sort_by(Eligible::cmp_load);
    let equal = among
        .iter()
        .take_while(|one| one.cmp_load(&among[0]).is_eq());
    let equal = equal.count();
    let mut order = turns.order(&among[..equal]);
    order.extend(among[equal..].iter().map(|member| member.index));
    order
}

/// The client id; the client's address where it has none.
fn id_key(subject: Subject<'_>) -> Vec<u8> {
    if subject.client_id.is_empty() {
        address_key(subject.address)
    } else {
        subject.client_id.as_bytes().to_vec()
    }
}

fn address_key(address: IpAddr) -> Vec<u8> {
    match address.to_canonical() {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

#[cfg(test)]
mod tests;
