//! Every algorithm shares by weight, moves what it must, and passes over what has no share.

use std::net::IpAddr;
use std::num::NonZeroU16;

use proptest::prelude::*;

use super::{Balancer, Load, Member, Subject};
use crate::config::{Balance, Tier};

const CLIENTS: usize = 10_000;
const ALL: [Balance; 6] = [
    Balance::ClientId,
    Balance::First,
    Balance::LeastConnections,
    Balance::Random,
    Balance::RoundRobin,
    Balance::Source,
];
/// Those that give every member its part.
const SHARING: [Balance; 5] = [
    Balance::ClientId,
    Balance::LeastConnections,
    Balance::Random,
    Balance::RoundRobin,
    Balance::Source,
];
const HASHES: [Balance; 2] = [Balance::ClientId, Balance::Source];

fn members(count: usize) -> Vec<Member> {
    let member = |n| Member {
        name: format!("broker-{n}"),
        tier: Tier::Primary,
    };
    (0..count).map(member).collect()
}

fn loads(weights: &[u32]) -> Vec<Load> {
    let load = |weight: &u32| Load {
        share: weight * 1000,
        connections: 0,
    };
    weights.iter().map(load).collect()
}

/// A client with an id and an address of its own.
fn order_for(balancer: &Balancer, n: usize, loads: &[Load]) -> Vec<usize> {
    let id = format!("device-{n}");
    let number = u32::try_from(n).unwrap();
    let subject = Subject {
        client_id: &id,
        address: IpAddr::from((0x0a00_0000 + number).to_be_bytes()),
    };
    balancer.order(subject, loads)
}

/// Where clients go of which each stays.
fn firsts(balancer: &Balancer, weights: &[u32]) -> Vec<usize> {
    let mut loads = loads(weights);
    (0..CLIENTS)
        .map(|n| {
            let first = order_for(balancer, n, &loads)[0];
            loads[first].connections += 1;
            first
        })
        .collect()
}

/// No member is off its part by more than 5 % of that.
fn shares_by(weights: &[u32], firsts: &[usize], what: &str) {
    let all: usize = weights.iter().sum::<u32>().try_into().unwrap();
    for (member, weight) in weights.iter().enumerate() {
        let got = firsts.iter().filter(|first| **first == member).count();
        let due = firsts.len() * usize::try_from(*weight).unwrap() / all;
        assert!(
            got.abs_diff(due) * 20 <= due,
            "{what}: member {member} has {got} of {due}"
        );
    }
}

fn unbounded(by: Balance, count: usize) -> Balancer {
    Balancer::new(by, None, &members(count))
}

#[test]
fn shares_by_weight() {
    for by in SHARING {
        for weights in [&[1, 1, 1][..], &[1, 2, 5], &[256, 0, 128]] {
            let firsts = firsts(&unbounded(by, 3), weights);
            shares_by(weights, &firsts, &format!("{by:?}"));
        }
    }
}

#[test]
fn shares_by_weight_among_clients_that_do_not_stay() {
    for by in SHARING {
        let balancer = unbounded(by, 3);
        let loads = loads(&[1, 2, 5]);

        // So many that chance alone stays far below 5 %.
        let firsts: Vec<usize> = (0..10 * CLIENTS)
            .map(|n| order_for(&balancer, n, &loads)[0])
            .collect();

        shares_by(&[1, 2, 5], &firsts, &format!("{by:?}"));
    }
}

#[test]
fn shares_what_a_member_without_a_share_leaves_among_all_others() {
    for by in SHARING {
        let firsts = firsts(&unbounded(by, 4), &[1, 0, 1, 2]);
        shares_by(&[1, 0, 1, 2], &firsts, &format!("{by:?}"));
    }
}

#[test]
fn a_new_member_moves_only_what_it_takes() {
    for by in HASHES {
        let before = firsts(&unbounded(by, 3), &[1, 1, 1]);
        let after = firsts(&unbounded(by, 4), &[1, 1, 1, 1]);

        let moved = before.iter().zip(&after).filter(|(a, b)| a != b);

        assert!(moved.clone().all(|(_, to)| *to == 3), "{by:?}");
        assert!(moved.count().abs_diff(CLIENTS / 4) < CLIENTS / 50, "{by:?}");
    }
}

#[test]
fn a_growing_share_of_a_hash_only_takes() {
    let part = |share| {
        let mut loads = loads(&[1, 1, 1]);
        loads[2].share = share;
        let balancer = unbounded(Balance::ClientId, 3);
        let first = |n| order_for(&balancer, n, &loads)[0];
        (0..CLIENTS).map(first).collect::<Vec<_>>()
    };

    let (tenth, half) = (part(100), part(500));

    let moved = tenth.iter().zip(&half).filter(|(a, b)| a != b);
    assert!(moved.clone().all(|(_, to)| *to == 2));
    assert!(tenth.iter().filter(|first| **first == 2).count() > CLIENTS / 30);
    assert!(moved.count() > CLIENTS / 10);
}

#[test]
fn the_second_choice_is_where_an_id_goes_without_the_first() {
    let balancer = unbounded(Balance::ClientId, 3);
    for n in 0..100 {
        let order = order_for(&balancer, n, &loads(&[1, 1, 1]));
        let mut without = loads(&[1, 1, 1]);
        without[order[0]].share = 0;

        assert_eq!(order[1..], order_for(&balancer, n, &without));
    }
}

#[test]
fn an_empty_client_id_goes_by_address() {
    let balancer = unbounded(Balance::ClientId, 2);
    let first = |address: &str| {
        let subject = Subject {
            client_id: "",
            address: address.parse().unwrap(),
        };
        balancer.order(subject, &loads(&[1, 1]))[0]
    };

    let firsts: Vec<usize> = (0..32).map(|n| first(&format!("10.0.0.{n}"))).collect();

    assert!(firsts.contains(&0) && firsts.contains(&1));
    assert_eq!(first("10.0.0.1"), first("::ffff:10.0.0.1"));
}

#[test]
fn a_source_does_not_depend_on_the_id() {
    let balancer = unbounded(Balance::Source, 2);
    let first = |client_id: &str, address: &str| {
        let address = address.parse().unwrap();
        balancer.order(Subject { client_id, address }, &loads(&[1, 1]))[0]
    };

    for n in 0..32 {
        let address = format!("2001:db8::{n}");
        assert_eq!(first("a", &address), first("b", &address));
    }
}

#[test]
fn a_bound_keeps_a_hash_from_piling_up() {
    let weights = [1, 1, 2];
    let bound = NonZeroU16::new(110);
    let balancer = Balancer::new(Balance::ClientId, bound, &members(3));
    let mut loads = loads(&weights);
    // All of these ids have the first member as their best.
    let ids = (0..).filter(|n| order_for(&balancer, *n, &self::loads(&weights))[0] == 0);
    for id in ids.take(4_000) {
        let first = order_for(&balancer, id, &loads)[0];
        loads[first].connections += 1;
    }

    assert!((1_099..=1_101).contains(&loads[0].connections), "{loads:?}");
}

#[test]
fn a_bound_that_nobody_reaches_changes_nothing() {
    let bounded = Balancer::new(Balance::ClientId, NonZeroU16::new(200), &members(3));

    assert_eq!(
        firsts(&bounded, &[1, 1, 1]),
        firsts(&unbounded(Balance::ClientId, 3), &[1, 1, 1])
    );
}

#[test]
fn backups_come_after_all_others() {
    let mut members = members(3);
    members[0].tier = Tier::Backup;
    for by in ALL {
        let balancer = Balancer::new(by, None, &members);
        for n in 0..20 {
            let order = order_for(&balancer, n, &loads(&[256, 1, 1]));
            assert_eq!(order.len(), 3, "{by:?}");
            assert_eq!(order[2], 0, "{by:?}");
            assert_eq!(order_for(&balancer, n, &loads(&[1, 0, 0])), [0], "{by:?}");
        }
    }
}

#[test]
fn first_keeps_the_order_of_the_file() {
    let balancer = unbounded(Balance::First, 3);

    assert_eq!(order_for(&balancer, 1, &loads(&[1, 256, 1])), [0, 1, 2]);
    assert_eq!(order_for(&balancer, 2, &loads(&[0, 1, 1])), [1, 2]);
}

#[test]
fn the_fewest_connections_for_its_share_come_first() {
    let balancer = unbounded(Balance::LeastConnections, 3);
    let mut loads = loads(&[1, 2, 4]);
    loads[0].connections = 3;
    loads[1].connections = 5;
    loads[2].connections = 13;

    assert_eq!(order_for(&balancer, 1, &loads), [1, 0, 2]);
}

#[test]
fn of_two_that_are_drawn_the_less_loaded_comes_first() {
    let balancer = unbounded(Balance::Random, 2);
    let mut loads = loads(&[1, 1]);
    loads[0].connections = 1;

    assert!((0..50).all(|n| order_for(&balancer, n, &loads) == [1, 0]));
}

#[test]
fn turns_of_a_heavy_member_are_spread() {
    let balancer = unbounded(Balance::RoundRobin, 3);
    let turn = |n| order_for(&balancer, n, &loads(&[5, 1, 1]))[0];

    assert_eq!((0..7).map(turn).collect::<Vec<_>>(), [0, 0, 1, 0, 2, 0, 0]);
}

#[test]
fn turns_go_round() {
    let balancer = unbounded(Balance::RoundRobin, 3);
    let turn = |n| order_for(&balancer, n, &loads(&[1, 1, 1]));

    assert_eq!(turn(0), [0, 1, 2]);
    assert_eq!(turn(1), [1, 2, 0]);
    assert_eq!(turn(2), [2, 0, 1]);
}

#[test]
#[expect(clippy::redundant_clone, reason = "its turns are its own")]
fn asking_a_clone_takes_no_turn() {
    let balancer = unbounded(Balance::RoundRobin, 3);

    assert_eq!(order_for(&balancer.clone(), 0, &loads(&[1, 1, 1]))[0], 0);
    assert_eq!(order_for(&balancer, 0, &loads(&[1, 1, 1]))[0], 0);
}

proptest! {
    #[test]
    fn names_every_member_with_a_share_once(
        by in prop::sample::select(&ALL[..]),
        bound in prop::option::of(101_u16..1000),
        state in prop::collection::vec((0_u32..=256_000, 0..=u64::from(u32::MAX), any::<bool>()), 0..20),
        client in 0_usize..1000,
    ) {
        let mut members = members(state.len());
        for (member, (_, _, backup)) in members.iter_mut().zip(&state) {
            member.tier = if *backup { Tier::Backup } else { Tier::Primary };
        }
        let load = |(share, connections, _): &(u32, u64, bool)| Load {
            share: *share,
            connections: *connections,
        };
        let loads: Vec<Load> = state.iter().map(load).collect();
        let balancer = Balancer::new(by, bound.and_then(NonZeroU16::new), &members);

        let mut order = order_for(&balancer, client, &loads);

        order.sort_unstable();
        let with_share = (0..loads.len()).filter(|index| loads[*index].share > 0);
        prop_assert_eq!(order, with_share.collect::<Vec<_>>());
    }
}

#[test]
fn a_client_has_a_home_where_the_choice_goes_by_it_and_there_is_room() {
    let subject = Subject {
        client_id: "device",
        address: IpAddr::from([10, 0, 0, 1]),
    };
    for by in ALL {
        let balancer = Balancer::new(by, None, &members(3));
        let home = balancer.home(subject, &loads(&[1, 1, 1]));
        let order = balancer.order(subject, &loads(&[1, 1, 1]));
        assert_eq!(home.is_some(), balancer.goes_by_client(), "{by:?}");
        assert!(home.is_none_or(|home| home == order[0]), "{by:?}");
    }

    let bound = NonZeroU16::new(125);
    let balancer = Balancer::new(Balance::ClientId, bound, &members(3));
    let mut loads = loads(&[1, 1, 1]);
    let home = balancer.home(subject, &loads).unwrap();
    loads[home].connections = 1_000;
    assert_eq!(balancer.home(subject, &loads), None);
}

#[test]
fn a_backup_serves_only_where_nobody_else_does() {
    let mut members = members(2);
    members[1].tier = Tier::Backup;
    let balancer = Balancer::new(Balance::RoundRobin, None, &members);
    let serving = |weights: [u32; 2]| {
        let serving = balancer.serving(&loads(&weights));
        [serving[0].share, serving[1].share]
    };
    assert_eq!(serving([1, 1]), [1000, 0]);
    assert_eq!(serving([0, 1]), [0, 1000]);
    assert_eq!(serving([0, 0]), [0, 0]);
}
