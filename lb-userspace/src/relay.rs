//! How the bytes of an established connection travel, and why that way.

use lb_common::client::Path;

use crate::config::DataPath;
use crate::counters::Counter;
use crate::kernel::leg::Agreed;

pub mod copy;
pub mod sockmap;
pub mod splice;

/// The faster paths that this daemon has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Able {
    pub splice: bool,
    pub sockmap: bool,
}

/// What the choice of a path depends on, where the operator and the host leave one.
#[derive(Debug, Clone, Copy)]
pub struct Facts {
    /// The broker has accepted the client.
    pub accepted: bool,
    pub same_family: bool,
    /// Whether the kernel half can send packets to client and broker.
    pub reachable: [bool; 2],
    /// The source port toward the broker is ours to keep.
    pub port: bool,
    /// The kernel half saw the handshakes of both legs.
    pub seen: bool,
    pub client: Agreed,
    pub broker: Agreed,
    /// The largest segment that arrives at the broker, in bytes of payload.
    pub broker_takes: u32,
}

/// A path and the reason for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    pub path: Path,
    pub because: Because,
}

/// Why a connection travels as it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Because {
    Best,
    Closing,
    Ecn,
    Families,
    Kernel,
    Mss,
    NoSockmap,
    Port,
    Refused,
    SockmapWish,
    Table,
    Timestamps,
    Tls,
    Unseen,
    Vrf,
    Wish,
}

impl Because {
    pub const ALL: [Self; 16] = [
        Self::Best,
        Self::Closing,
        Self::Ecn,
        Self::Families,
        Self::Kernel,
        Self::Mss,
        Self::NoSockmap,
        Self::Port,
        Self::Refused,
        Self::SockmapWish,
        Self::Table,
        Self::Timestamps,
        Self::Tls,
        Self::Unseen,
        Self::Vrf,
        Self::Wish,
    ];

    /// The path that a connection takes for this reason.
    pub fn path(self) -> Path {
        match self {
            Self::Best => Path::Splice,
            Self::SockmapWish => Path::Sockmap,
            Self::Closing
            | Self::Ecn
            | Self::Families
            | Self::Kernel
            | Self::Mss
            | Self::NoSockmap
            | Self::Port
            | Self::Refused
            | Self::Table
            | Self::Timestamps
            | Self::Tls
            | Self::Unseen
            | Self::Vrf
            | Self::Wish => Path::Copy,
        }
    }

    pub fn label(self) -> &'static str {
        match self {
            Self::Best => "eligible",
            Self::Closing => "closing",
            Self::Ecn => "ecn",
            Self::Families => "ipv4_and_ipv6",
            Self::Kernel => "no_kernel_half",
            Self::Mss => "segment_size",
            Self::NoSockmap => "no_sockmap",
            Self::Port => "no_source_port",
            Self::Refused => "refused_by_broker",
            Self::Table => "table_full",
            Self::Timestamps => "timestamps",
            Self::Tls => "tls",
            Self::Unseen => "handshake_not_seen",
            Self::Vrf => "vrf",
            Self::SockmapWish | Self::Wish => "configured",
        }
    }
}

/// Connections by the reason for their path.
#[derive(Debug, Default)]
pub struct Choices([Counter; Because::ALL.len()]);

impl Choices {
    pub fn count(&self, because: Because) {
        self.0[because as usize].add(1);
    }

    pub fn each(&self) -> impl Iterator<Item = (Because, u64)> {
        Because::ALL
            .into_iter()
            .map(|because| (because, self.0[because as usize].value()))
    }
}

/// Picks the path that was wished for, or the fastest, where both legs allow it; else says why not.
pub fn choose(wish: DataPath, able: Able, facts: &Facts) -> Choice {
    let because = match wish {
        DataPath::Copy => Because::Wish,
        DataPath::Sockmap => no_sockmap(able, facts).unwrap_or(Because::SockmapWish),
        DataPath::Auto | DataPath::Splice if !able.splice => Because::Kernel,
        DataPath::Auto | DataPath::Splice => no_splice(facts).unwrap_or(Because::Best),
    };
    Choice {
        path: because.path(),
        because,
    }
}

/// What keeps a connection from the sockmap path, which asks nothing of the legs but to be open.
fn no_sockmap(able: Able, facts: &Facts) -> Option<Because> {
    let refusals = [
        (!able.sockmap, Because::NoSockmap),
        (!facts.accepted, Because::Refused),
        (
            !facts.client.is_open || !facts.broker.is_open,
            Because::Closing,
        ),
    ];
    first(&refusals)
}

fn first(refusals: &[(bool, Because)]) -> Option<Because> {
    let holds = refusals.iter().find(|(holds, _)| *holds)?;
    Some(holds.1)
}

/// What keeps a connection from being spliced.
fn no_splice(facts: &Facts) -> Option<Because> {
    let Facts {
        accepted,
        same_family,
        reachable,
        port,
        seen,
        client,
        broker,
        broker_takes,
    } = facts;
    let refusals = [
        (!accepted, Because::Refused),
        (!same_family, Because::Families),
        (*reachable != [true, true], Because::Vrf),
        (!port, Because::Port),
        (!client.is_open || !broker.is_open, Because::Closing),
        (!seen, Because::Unseen),
        (client.timestamps || broker.timestamps, Because::Timestamps),
        (client.ecn || broker.ecn, Because::Ecn),
        (client.announced_mss > *broker_takes, Because::Mss),
        (broker.announced_mss > client.send_mss, Because::Mss),
    ];
    first(&refusals)
}

#[cfg(test)]
mod tests;
