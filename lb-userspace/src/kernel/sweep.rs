//! What has come to its end among the connections in the kernel, and is removed.

use std::time::Duration;

use lb_common::flow::{Flow, FlowKey, STATE_CLOSED, STATE_FIN_ACKNOWLEDGED, STATE_REPLACED};

use super::reset;
use super::tables::Tables;

/// How long a closed connection is kept, for the segments that are sent again.
pub const LINGER: Duration = Duration::from_secs(2);

/// Why a connection was removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Both ends closed it, or one reset it.
    Closed,
    /// It was ended before its time; see [`crate::evict`].
    Evicted,
    /// The client has not been heard of for too long.
    Idle,
    /// The daemon that was handing it over died; half of what it had is lost.
    Torn,
}

impl Ended {
    pub const ALL: [Self; 4] = [Self::Closed, Self::Evicted, Self::Idle, Self::Torn];

    pub fn label(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Evicted => "evicted",
            Self::Idle => "idle",
            Self::Torn => "torn",
        }
    }
}

/// A connection that was removed, by its flow from the client.
#[derive(Debug)]
pub struct Removed {
    pub key: FlowKey,
    pub flow: Flow,
    pub ended: Ended,
}

/// Which connections to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// What a former daemon left: nothing can be on its way into the kernel.
    Adopted,
    Running,
}

/// Whether it is worth looking closer at a connection, by its flow from the client: whatever has not
/// ended there has not ended.
pub fn may_have_ended(up: &Flow, now: Duration) -> bool {
    up.state & (STATE_CLOSED | STATE_REPLACED) != 0 || is_lost(up, now)
}

/// Whether the client has been silent for too long, in time of `CLOCK_MONOTONIC`.
pub fn is_lost(up: &Flow, now: Duration) -> bool {
    let patience = Duration::from_secs(up.idle_seconds.into());
    up.idle_seconds != 0 && silence(up, now) > patience
}

fn silence(flow: &Flow, now: Duration) -> Duration {
    now.saturating_sub(Duration::from_nanos(flow.last_seen))
}

/// What has become of a connection.
#[derive(Debug)]
pub enum Found {
    Gone,
    Lives,
    /// With its flow from the broker.
    Removed(Box<(Removed, Option<Flow>)>),
}

/// Removes a connection that has ended at `now`, by the key of its flow from the client.
pub fn settle(
    tables: &mut Tables,
    key: &FlowKey,
    session: u64,
    now: Duration,
    scope: Scope,
) -> Found {
    let Some(up) = tables.flow(key).filter(|flow| flow.session == session) else {
        return Found::Gone;
    };
    let keys = [*key, FlowKey::reverse(&up)];
    let down = tables.flow(&keys[1]);
    let is_torn = scope == Scope::Adopted && keys.iter().any(|key| tables.is_leaving(key));
    let ended = if is_torn {
        Ended::Torn
    } else {
        match ended(&up, down.as_ref(), now) {
            Some(ended) => ended,
            None => return Found::Lives,
        }
    };
    tables.forget(&keys, &up, down.as_ref());
    Found::Removed(Box::new((
        Removed {
            key: *key,
            flow: up,
            ended,
        },
        down,
    )))
}

fn ended(up: &Flow, down: Option<&Flow>, now: Duration) -> Option<Ended> {
    let Some(down) = down else {
        return Some(Ended::Torn);
    };
    let state = up.state | down.state;
    if state & STATE_REPLACED != 0 {
        return Some(Ended::Closed);
    }
    let is_closed = state & STATE_CLOSED != 0;
    if is_closed && silence(up, now).min(silence(down, now)) > LINGER {
        return Some(Ended::Closed);
    }
    is_lost(up, now).then_some(Ended::Idle)
}

/// Who may not know that a connection has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unaware {
    Nobody,
    Broker,
    Both,
}

/// A reset may have come at a moment when its receiver had no window for what is before it, and so
/// not for the reset; one that ends a connection by FINs has come all the way.
fn unaware(ended: Ended, [up, down]: [&Flow; 2]) -> Unaware {
    if ended != Ended::Closed {
        return Unaware::Both;
    }
    if up.state & down.state & STATE_FIN_ACKNOWLEDGED != 0 {
        return Unaware::Nobody;
    }
    if (up.state | down.state) & STATE_REPLACED != 0 {
        // At its addresses the client has another connection by now.
        return Unaware::Broker;
    }
    Unaware::Both
}

/// Resets who may still believe in a connection that was removed.
pub fn tell(ended: Ended, flows: [&Flow; 2]) {
    let told = match unaware(ended, flows) {
        Unaware::Nobody => Ok(()),
        Unaware::Broker => reset::broker(flows),
        Unaware::Both => reset::both(flows),
    };
    if let Err(error) = told {
        tracing::debug!(%error, "the ends of a connection were not told that it has ended");
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use lb_common::flow::{Flow, STATE_CLOSED, STATE_FIN_ACKNOWLEDGED, STATE_REPLACED};

    use super::{Ended, Unaware, ended, may_have_ended, unaware};

    const SEEN: Flow = Flow {
        source: [0; 16],
        destination: [0; 16],
        source_port: 0,
        destination_port: 0,
        sequence_shift: 0,
        acknowledgment_shift: 0,
        address_change: 0,
        interface: 0,
        window_left: 0,
        window_right: 0,
        flags: 0,
        reserved: 0,
        session: 0,
        backend: 0,
        idle_seconds: 90,
        packets: 0,
        bytes: 0,
        last_seen: 10_000_000_000,
        highest_sequence: 0,
        highest_acknowledgment: 0,
        state: 0,
        gap_end: 0,
        client_half: [0; 32],
    };

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_closed_connection_lingers() {
        let closed = Flow {
            state: STATE_CLOSED,
            ..SEEN
        };

        let after = |seconds| ended(&closed, Some(&SEEN), at(seconds));

        assert_eq!(after(11), None);
        assert_eq!(after(13), Some(Ended::Closed));
    }

    #[test]
    fn only_the_silence_of_the_client_counts() {
        let talking = Flow {
            last_seen: 99_000_000_000,
            ..SEEN
        };

        let judge = |up, down, seconds| ended(&up, Some(&down), at(seconds));

        assert_eq!(judge(SEEN, talking, 100), None);
        assert_eq!(judge(SEEN, talking, 101), Some(Ended::Idle));
        assert_eq!(judge(talking, SEEN, 101), None);
        assert_eq!(
            judge(
                Flow {
                    idle_seconds: 0,
                    ..SEEN
                },
                SEEN,
                1_000_000
            ),
            None
        );
    }

    #[test]
    fn half_a_connection_is_torn() {
        assert_eq!(ended(&SEEN, None, at(11)), Some(Ended::Torn));
    }

    #[test]
    fn looks_closer_at_what_is_closed_or_silent() {
        let closed = Flow {
            state: STATE_CLOSED,
            ..SEEN
        };

        assert!(!may_have_ended(&SEEN, at(100)));
        assert!(may_have_ended(&SEEN, at(101)));
        assert!(may_have_ended(&closed, at(10)));
    }

    #[test]
    fn resets_whoever_may_not_know() {
        let judge = |ended, [up, down]: [u32; 2]| {
            let [up, down] = [up, down].map(|state| Flow { state, ..SEEN });
            unaware(ended, [&up, &down])
        };
        const FINISHED: u32 = STATE_CLOSED | STATE_FIN_ACKNOWLEDGED;
        const REPLACED: u32 = STATE_CLOSED | STATE_REPLACED;

        assert_eq!(judge(Ended::Idle, [0, 0]), Unaware::Both);
        assert_eq!(judge(Ended::Closed, [STATE_CLOSED; 2]), Unaware::Both);
        assert_eq!(judge(Ended::Closed, [FINISHED; 2]), Unaware::Nobody);
        assert_eq!(
            judge(Ended::Closed, [FINISHED, STATE_CLOSED]),
            Unaware::Both
        );
        assert_eq!(judge(Ended::Closed, [REPLACED; 2]), Unaware::Broker);
        assert_eq!(
            judge(Ended::Closed, [FINISHED | STATE_REPLACED; 2]),
            Unaware::Nobody
        );
    }
}
