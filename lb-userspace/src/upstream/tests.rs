//! Who is tried for a client, what part a backend that comes back gets, and when it is forgotten.

use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::choose::{Because, Wish};
use super::{Backend, Backends, Health, Pool, Unavailable, Wanted};
use crate::balance::{Balancer, Member, Subject};
use crate::config::{Balance, Sticky, StickyClients, Tier, default};

const HOLD: Duration = Duration::from_secs(30);
const SLOW_START: Duration = Duration::from_secs(100);

fn pool(by: Balance, weights: &[u16]) -> Pool {
    let names: Vec<String> = (0..weights.len()).map(|n| format!("broker-{n}")).collect();
    let member = |name: &String| Member {
        name: name.clone(),
        tier: Tier::Primary,
    };
    let backend = |(number, name): (u32, &String)| {
        let weight = weights[number as usize];
        Arc::new(Backend::new(
            number,
            name,
            "127.0.0.1:1".parse().unwrap(),
            weight,
        ))
    };
    Pool {
        name: "brokers".to_owned(),
        balancer: Balancer::new(by, None, &names.iter().map(member).collect::<Vec<_>>()),
        backends: (0..).zip(&names).map(backend).collect(),
        dial_timeout: SLOW_START,
        connack_timeout: SLOW_START,
        attempts: NonZeroUsize::new(2).unwrap(),
        retry_on: Vec::new(),
        proxy_protocol: default::PROXY_PROTOCOL,
        slow_start: SLOW_START,
        health: crate::config::Health::default(),
        hosts: Vec::new(),
        dns_interval: SLOW_START,
        sticky: Some(Sticky {
            clients: StickyClients::Persistent,
            expire: SLOW_START,
            hold: HOLD,
        }),
    }
}

/// The numbers of the backends to try for the client with this number.
fn candidates(pool: &Pool, client: usize, now: Instant) -> Vec<u32> {
    let id = format!("device-{client}");
    let subject = Subject {
        client_id: &id,
        address: [127, 0, 0, 1].into(),
    };
    let candidates = pool.candidates(subject, now);
    candidates.map(|backend| backend.number).collect()
}

#[test]
fn tries_no_more_than_configured_and_none_that_gets_no_client() {
    let pool = pool(Balance::First, &[1, 0, 1, 1, 1, 1]);
    let now = Instant::now();
    pool.backends[0].want(Wanted::Draining, now);
    pool.backends[2].want(Wanted::Disabled, now);
    pool.backends[3].is_found(Health::Down, now);

    assert_eq!(candidates(&pool, 1, now), [4, 5]);

    pool.backends[0].want(Wanted::Serving, now);
    pool.backends[3].is_found(Health::Up, now);

    assert_eq!(candidates(&pool, 1, now), [0, 3]);
}

#[test]
fn a_backend_that_comes_back_gets_its_share_little_by_little() {
    for by in [Balance::ClientId, Balance::RoundRobin, Balance::Random] {
        let pool = pool(by, &[1, 1]);
        let start = Instant::now();
        let part = |now| {
            let first = |client| candidates(&pool, client, now)[0];
            (0..1000).map(first).filter(|first| *first == 0).count()
        };
        assert!((400..600).contains(&part(start)), "{by:?}");

        pool.backends[0].is_found(Health::Down, start);
        assert_eq!(part(start), 0, "{by:?}");
        pool.backends[0].is_found(Health::Up, start);

        // A half of its weight is a third of all.
        assert!(part(start) < 10, "{by:?}");
        assert!((250..420).contains(&part(start + SLOW_START / 2)), "{by:?}");
        assert!((400..600).contains(&part(start + SLOW_START)), "{by:?}");
    }
}

#[test]
fn being_found_up_again_and_again_starts_nothing_anew() {
    let pool = pool(Balance::RoundRobin, &[1]);
    let start = Instant::now();
    pool.backends[0].is_found(Health::Down, start);
    pool.backends[0].is_found(Health::Up, start);

    pool.backends[0].is_found(Health::Up, start + SLOW_START);

    assert_eq!(pool.backends[0].up_since(), Some(start));
}

#[test]
fn a_full_backend_is_not_available() {
    let address = "192.0.2.1:1883".parse().unwrap();
    let backend = Arc::new(Backend::new(0, "a", address, 1));
    backend.limit(NonZeroU32::new(2), None);

    backend.connections.add_one();
    let expected = backend.expect().unwrap();

    assert_eq!(backend.available(), Err(Unavailable::Full));
    assert!(backend.expect().is_none());
    drop(expected);
    assert_eq!(backend.available(), Ok(()));
    assert!(backend.expect().is_some());
    backend.limit(None, None);
    backend.connections.add_one();
    assert_eq!(backend.available(), Ok(()));
}

#[test]
fn what_is_gone_is_forgotten_when_nobody_has_it() {
    let backends = Backends::default();
    let address = "10.0.0.1:1883".parse().unwrap();
    let [kept, gone] = [0, 1].map(|n| Arc::new(Backend::new(n, "b", address, 1)));
    backends.insert(&kept);
    backends.insert(&gone);
    drop(kept);
    gone.retire();
    gone.connections.add_one();

    assert_eq!(gone.available(), Err(Unavailable::Gone));
    assert!(backends.take_ended().is_empty());
    gone.connections.sub_one();
    assert!(backends.take_ended().is_empty());
    drop(gone);
    assert_eq!(backends.take_ended().len(), 1);

    assert!(backends.by_number(0).is_some() && backends.by_number(1).is_none());
}

#[test]
fn what_comes_back_takes_clients_again() {
    let address = "10.0.0.1:1883".parse().unwrap();
    let backend = Backend::new(0, "b", address, 1);

    backend.retire();
    backend.change(address, 2);

    assert_eq!(backend.available(), Ok(()));
}

/// Why, and who, for a client that is remembered with the third backend.
fn choice(pool: &Pool, wish: Wish, now: Instant) -> (Because, Vec<u32>) {
    let subject = Subject {
        client_id: "device",
        address: [127, 0, 0, 1].into(),
    };
    let choice = pool.choose(subject, Some("broker-2"), wish, now);
    let candidates = choice.candidates.iter().map(|backend| backend.number);
    (choice.because, candidates.collect())
}

#[test]
fn a_client_returns_whatever_the_balancer_says() {
    let pool = pool(Balance::First, &[1, 1, 0]);
    let now = Instant::now();

    assert_eq!(choice(&pool, Wish::Resume, now), (Because::Kept, vec![2]));
    assert_eq!(
        choice(&pool, Wish::Anew, now),
        (Because::Returned, vec![2, 0])
    );
}

#[test]
fn a_client_waits_for_a_backend_that_is_down_but_not_for_ever() {
    let pool = pool(Balance::First, &[1, 1, 1]);
    let start = Instant::now();
    pool.backends[2].is_found(Health::Down, start);

    assert_eq!(choice(&pool, Wish::Resume, start), (Because::Held, vec![]));
    assert_eq!(
        choice(&pool, Wish::Anew, start),
        (Because::Replaced, vec![0, 1])
    );
    let later = start + HOLD;
    assert_eq!(
        choice(&pool, Wish::Resume, later),
        (Because::Replaced, vec![0, 1])
    );

    pool.backends[2].is_found(Health::Up, later);
    assert_eq!(choice(&pool, Wish::Resume, later), (Because::Kept, vec![2]));
}

#[test]
fn a_client_waits_for_a_backend_that_only_clients_miss() {
    let pool = pool(Balance::First, &[1, 1, 1]);
    let start = Instant::now();
    pool.backends[2].is_missed(start);
    pool.backends[2].is_missed(start + HOLD / 2);

    let before = start + HOLD * 9 / 10;
    assert_eq!(
        choice(&pool, Wish::Resume, before),
        (Because::Kept, vec![2])
    );
    let after = start + HOLD;
    assert_eq!(
        choice(&pool, Wish::Resume, after),
        (Because::Returned, vec![2, 0])
    );

    pool.backends[2].is_reached();
    assert_eq!(choice(&pool, Wish::Resume, after), (Because::Kept, vec![2]));
}

#[test]
fn a_client_of_a_full_backend_goes_elsewhere_only_for_this_once() {
    let pool = pool(Balance::First, &[1, 1, 1]);
    let now = Instant::now();
    pool.backends[2].limit(NonZeroU32::new(1), None);
    let place = pool.backends[2].expect().unwrap();

    assert_eq!(
        choice(&pool, Wish::Resume, now),
        (Because::Elsewhere, vec![0, 1])
    );
    // It gives up what it would come back for.
    assert_eq!(
        choice(&pool, Wish::Anew, now),
        (Because::Replaced, vec![0, 1])
    );
    drop(place);
    assert_eq!(choice(&pool, Wish::Resume, now), (Because::Kept, vec![2]));
}

#[test]
fn a_client_does_not_return_to_a_backend_that_gets_none() {
    for wanted in [Wanted::Draining, Wanted::Disabled] {
        let pool = pool(Balance::First, &[1, 1, 1]);
        let now = Instant::now();
        pool.backends[2].want(wanted, now);

        assert_eq!(
            choice(&pool, Wish::Resume, now),
            (Because::Replaced, vec![0, 1])
        );
    }
}
