//! How the bytes of an established connection travel, and why that way.

use lb_common::client::Path;

use crate::counters::Counter;
use crate::kernel::leg::Agreed;

pub mod copy;
pub mod splice;

/// What the choice of a path depends on, where the operator and the host leave one.
#[derive(Debug, Clone, Copy)]
pub struct Facts {
    /// The broker has accepted the client.
    pub accepted: bool,
    pub same_family: bool,
    /// Whether client and broker are reached through an interface, not on this host.
    pub remote: [bool; 2],
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
    Local,
    Mss,
    Port,
    Refused,
    Table,
    Timestamps,
    Unseen,
    Wish,
}

impl Because {
    pub const ALL: [Self; 13] = [
        Self::Best,
        Self::Closing,
        Self::Ecn,
        Self::Families,
        Self::Kernel,
        Self::Local,
        Self::Mss,
        Self::Port,
        Self::Refused,
        Self::Table,
        Self::Timestamps,
        Self::Unseen,
        Self::Wish,
    ];

    /// The path that a connection takes for this reason.
    pub fn path(self) -> Path {
        if self == Self::Best {
            Path::Splice
        } else {
            Path::Copy
        }
    }

    pub fn label(self) -> &'static str {
        match self {
            Self::Best => "eligible",
            Self::Closing => "closing",
            Self::Ecn => "ecn",
            Self::Families => "ipv4_and_ipv6",
            Self::Kernel => "no_kernel_half",
            Self::Local => "local",
            Self::Mss => "segment_size",
            Self::Port => "no_source_port",
            Self::Refused => "refused_by_broker",
            Self::Table => "table_full",
            Self::Timestamps => "timestamps",
            Self::Unseen => "handshake_not_seen",
            Self::Wish => "configured",
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

/// Picks the fastest path that both legs allow, and says why not a faster one.
pub fn choose(facts: &Facts) -> Choice {
    match refusal(facts) {
        Some(because) => Choice {
            path: Path::Copy,
            because,
        },
        None => Choice {
            path: Path::Splice,
            because: Because::Best,
        },
    }
}

/// What keeps a connection from being spliced.
fn refusal(facts: &Facts) -> Option<Because> {
    let Facts {
        accepted,
        same_family,
        remote,
        port,
        seen,
        client,
        broker,
        broker_takes,
    } = facts;
    let refusals = [
        (!accepted, Because::Refused),
        (!same_family, Because::Families),
        (*remote != [true, true], Because::Local),
        (!port, Because::Port),
        (!client.is_open || !broker.is_open, Because::Closing),
        (!seen, Because::Unseen),
        (client.timestamps || broker.timestamps, Because::Timestamps),
        (client.ecn || broker.ecn, Because::Ecn),
        (client.announced_mss > *broker_takes, Because::Mss),
        (broker.announced_mss > client.send_mss, Because::Mss),
    ];
    refusals
        .into_iter()
        .find_map(|(holds, because)| holds.then_some(because))
}

#[cfg(test)]
mod tests {
    use lb_common::client::Path;

    use super::{Because, Choice, Facts, choose};
    use crate::kernel::leg::Agreed;

    const LEG: Agreed = Agreed {
        is_open: true,
        timestamps: false,
        sack: true,
        ecn: false,
        peer_scale: 7,
        our_scale: 7,
        send_mss: 1460,
        path_mtu: 1500,
        announced_mss: 1460,
    };

    const ELIGIBLE: Facts = Facts {
        accepted: true,
        same_family: true,
        remote: [true, true],
        port: true,
        seen: true,
        client: LEG,
        broker: LEG,
        broker_takes: 1460,
    };

    #[test]
    fn splices_what_is_eligible() {
        let splice = Choice {
            path: Path::Splice,
            because: Because::Best,
        };

        assert_eq!(choose(&ELIGIBLE), splice);
    }

    fn refused(change: impl FnOnce(&mut Facts)) -> Because {
        let mut facts = ELIGIBLE;
        change(&mut facts);
        let Choice { path, because } = choose(&facts);
        assert_eq!(path, because.path());
        because
    }

    #[test]
    fn copies_what_is_not_eligible_and_says_why() {
        assert_eq!(refused(|f| f.accepted = false), Because::Refused);
        assert_eq!(refused(|f| f.same_family = false), Because::Families);
        assert_eq!(refused(|f| f.remote[0] = false), Because::Local);
        assert_eq!(refused(|f| f.remote[1] = false), Because::Local);
        assert_eq!(refused(|f| f.port = false), Because::Port);
        assert_eq!(refused(|f| f.seen = false), Because::Unseen);
        assert_eq!(refused(|f| f.client.is_open = false), Because::Closing);
        assert_eq!(refused(|f| f.broker.timestamps = true), Because::Timestamps);
        assert_eq!(refused(|f| f.client.ecn = true), Because::Ecn);
        assert_eq!(refused(|f| f.broker_takes = 1400), Because::Mss);
        assert_eq!(refused(|f| f.client.send_mss = 536), Because::Mss);
    }

    #[test]
    fn names_the_first_reason_only() {
        let because = refused(|f| {
            f.port = false;
            f.remote[1] = false;
        });

        assert_eq!(because, Because::Local);
    }
}
