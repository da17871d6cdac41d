//! The two flows of a spliced connection, worked out from its two legs.
//!
//! The daemon relays byte for byte. So the byte at place `n` of the client's stream has the number
//! `first received on the client leg + n` there, and `first sent on the broker leg + n` here, and
//! the difference of the two never changes; the same holds the other way. Acknowledgments count the
//! bytes of the opposite stream, and move back by its difference.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use lb_common::address::mapped;
use lb_common::client::ClientKey;
use lb_common::flow::{
    CLIENT_HALF_BYTES, FLAG_CLEAN, FLAG_FROM_CLIENT, FLAG_NO_SACK, Flow, FlowKey, STATE_LEAVING,
};

use nix::time::{ClockId, clock_gettime};

use super::leg::Leg;
use crate::evict::rank::Kept;

/// A leg with its addresses, and what the daemon has written to it.
#[derive(Debug, Clone, Copy)]
pub struct End {
    pub leg: Leg,
    /// The client or the broker.
    pub peer: SocketAddr,
    /// This host.
    pub local: SocketAddr,
    /// The interface that leads to the peer.
    pub interface: u32,
    /// Bytes of the other end that have been written to the socket so far, without what came before them.
    pub written: u64,
}

/// What the flows carry along for those who look at them.
#[derive(Debug, Clone, Copy)]
pub struct Labels {
    pub session: u64,
    /// Under which it is listed.
    pub client: ClientKey,
    pub backend: u32,
    pub kept: Kept,
    /// Seconds without a segment of the client after which it is taken for lost; 0 is never.
    pub idle_seconds: u32,
    /// `CLOCK_MONOTONIC`, in nanoseconds.
    pub now: u64,
}

/// Both directions of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pair {
    pub from_client: (FlowKey, Flow),
    pub from_broker: (FlowKey, Flow),
}

impl Pair {
    pub fn new(client: &End, broker: &End, labels: Labels) -> Self {
        let up = shift(client, broker);
        let down = shift(broker, client);
        let mut from_client = direction(client, broker, [up, down], labels);
        let mut from_broker = direction(broker, client, [down, up], labels);
        from_client.1.flags |= FLAG_FROM_CLIENT;
        if labels.kept == Kept::Nothing {
            from_client.1.flags |= FLAG_CLEAN;
        }
        [from_client.1.client_half, from_broker.1.client_half] = labels.client.halves();
        Self {
            from_client,
            from_broker,
        }
    }
}

/// The clock that flows are marked with.
pub fn now() -> Duration {
    // Unlike the clock of the day, this one cannot fail: it is always there.
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from)
}

/// Where the segments of a flow leave to: our address and the peer's.
pub fn flow_addresses(flow: &Flow) -> [SocketAddr; 2] {
    let address = |bytes: [u8; 16], port| SocketAddr::new(IpAddr::from(bytes).to_canonical(), port);
    [
        address(flow.source, flow.source_port),
        address(flow.destination, flow.destination_port),
    ]
}

/// Where the segments of a flow arrive from, and at which address of ours.
pub fn key_addresses(key: &FlowKey) -> [SocketAddr; 2] {
    let address = |bytes: [u8; 16], port| SocketAddr::new(IpAddr::from(bytes).to_canonical(), port);
    [
        address(key.source, key.source_port),
        address(key.destination, key.destination_port),
    ]
}

/// What to add to the number of a byte received from `from` for that of the same byte sent to `to`.
fn shift(from: &End, to: &End) -> u32 {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "sequence space is modulo 2^32"
    )]
    let first_sent = to.leg.next_send.wrapping_sub(to.written as u32);
    first_sent.wrapping_sub(from.leg.first_receive)
}

/// The key under which segments of `peer` arrive.
pub fn arriving(peer: SocketAddr, local: SocketAddr) -> FlowKey {
    FlowKey {
        source: mapped(peer.ip()),
        destination: mapped(local.ip()),
        source_port: peer.port(),
        destination_port: local.port(),
    }
}

fn direction(from: &End, to: &End, [there, back]: [u32; 2], labels: Labels) -> (FlowKey, Flow) {
    let key = arriving(from.peer, from.local);
    let flow = Flow {
        source: mapped(to.local.ip()),
        destination: mapped(to.peer.ip()),
        source_port: to.local.port(),
        destination_port: to.peer.port(),
        sequence_shift: there,
        acknowledgment_shift: 0_u32.wrapping_sub(back),
        address_change: change(
            &[key.source, key.destination],
            &[mapped(to.local.ip()), mapped(to.peer.ip())],
        ),
        interface: to.interface,
        window_left: from.leg.agreed.peer_scale,
        window_right: to.leg.agreed.our_scale,
        flags: if to.leg.agreed.sack { 0 } else { FLAG_NO_SACK },
        reserved: 0,
        session: labels.session,
        backend: labels.backend,
        idle_seconds: labels.idle_seconds,
        packets: 0,
        bytes: 0,
        last_seen: labels.now,
        highest_sequence: from.leg.next_receive,
        highest_acknowledgment: from.leg.first_unacknowledged,
        state: STATE_LEAVING,
        gap_end: 0,
        client_half: [0; CLIENT_HALF_BYTES],
    };
    (key, flow)
}

/// What a change of addresses adds to a checksum (RFC 1624), as words in memory order.
fn change(old: &[[u8; 16]; 2], new: &[[u8; 16]; 2]) -> u32 {
    let words = |addresses: &[[u8; 16]; 2]| -> Vec<u32> {
        let (words, _) = addresses.as_flattened().as_chunks::<4>();
        words.iter().map(|word| u32::from_ne_bytes(*word)).collect()
    };
    let removed = words(old).into_iter().map(|word| u64::from(!word));
    let added = words(new).into_iter().map(u64::from);
    let mut sum: u64 = removed.chain(added).sum();
    while sum > u64::from(u32::MAX) {
        sum = (sum & u64::from(u32::MAX)) + (sum >> 32);
    }
    u32::try_from(sum).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use lb_common::client::ClientKey;
    use lb_common::flow::{FLAG_FROM_CLIENT, FLAG_NO_SACK, FlowKey};

    use super::super::leg::{Agreed, Leg};
    use super::{End, Kept, Labels, Pair};

    fn end(peer: &str, local: &str, first_receive: u32, received: u32, next_send: u32) -> End {
        End {
            leg: Leg {
                next_send,
                first_unacknowledged: next_send,
                next_receive: first_receive.wrapping_add(received),
                first_receive,
                agreed: Agreed {
                    is_open: true,
                    timestamps: false,
                    sack: true,
                    ecn: false,
                    peer_scale: 3,
                    our_scale: 7,
                    send_mss: 1460,
                    path_mtu: 1500,
                    announced_mss: 1460,
                },
            },
            peer: peer.parse().unwrap(),
            local: local.parse().unwrap(),
            interface: 2,
            written: 0,
        }
    }

    const LABELS: Labels = Labels {
        session: 1,
        client: ClientKey {
            id: [0; 48],
            digest: [0; 16],
        },
        backend: 0,
        kept: Kept::Session,
        idle_seconds: 90,
        now: 0,
    };

    #[test]
    fn maps_every_byte_of_one_leg_to_the_same_byte_of_the_other() {
        // The client's first byte is 1,000 and it has sent 20; ours to it is near the wrap.
        let client = end("10.0.0.2:5000", "10.0.0.1:1883", 1_000, 20, u32::MAX);
        // The broker leg's first byte sent is 9,000, of which 20 are written; its first is 70.
        let mut broker = end("10.1.0.2:1883", "10.1.0.1:40000", 70, 4, 9_020);
        broker.written = 20;

        let Pair {
            from_client: (_, up),
            from_broker: (_, down),
        } = Pair::new(&client, &broker, LABELS);

        assert_eq!(1_020_u32.wrapping_add(up.sequence_shift), 9_020);
        assert_eq!(70_u32.wrapping_add(down.sequence_shift), u32::MAX);
        // What the client acknowledges, the broker sent: place 4 of its stream.
        assert_eq!(3_u32.wrapping_add(up.acknowledgment_shift), 74);
        assert_eq!(9_021_u32.wrapping_add(down.acknowledgment_shift), 1_021);
    }

    #[test]
    fn each_direction_leaves_by_the_key_of_the_other() {
        let client = end("10.0.0.2:5000", "10.0.0.1:1883", 1, 1, 1);
        let mut broker = end("10.1.0.2:1883", "10.1.0.1:40000", 1, 1, 1);
        broker.leg.agreed.sack = false;

        let pair = Pair::new(&client, &broker, LABELS);

        assert_eq!(FlowKey::reverse(&pair.from_client.1), pair.from_broker.0);
        assert_eq!(FlowKey::reverse(&pair.from_broker.1), pair.from_client.0);
        assert_eq!(pair.from_client.1.flags, FLAG_NO_SACK | FLAG_FROM_CLIENT);
        assert_eq!(pair.from_broker.1.flags, 0);
        assert_eq!(
            (
                pair.from_client.1.window_left,
                pair.from_client.1.window_right
            ),
            (3, 7)
        );
    }
}
