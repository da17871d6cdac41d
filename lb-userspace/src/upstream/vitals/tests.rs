//! Findings go in, one after the other, and a health comes out.

use std::time::Duration;

use tokio::time::Instant;

use super::{Doubt, Finding, Vitals};
use crate::config::health::{Check, Clients, Health as Rules, MqttCheck};
use crate::config::why::Why;
use crate::mqtt::Version;
use crate::upstream::Health;

const TIMEOUT: Duration = Duration::from_secs(10);
const A_MOMENT: Duration = Duration::from_secs(1);

fn rules(check: Check) -> Rules {
    Rules {
        check,
        clients: Clients {
            fail_timeout: TIMEOUT,
            fail_on: vec![Why::Unreachable, Why::Silent],
            ..Rules::default().clients
        },
        ..Rules::default()
    }
}

fn mqtt() -> Check {
    Check::Mqtt(MqttCheck {
        client_id: None,
        version: Version::V3_1_1,
        credentials: None,
        proxy_protocol: crate::config::default::PROXY_PROTOCOL,
    })
}

/// What is found after each check: `+` passed, `-` refused, `x` dead; `U` up, `D` down, `X` dead.
fn after(checks: &str) -> String {
    let rules = rules(Check::Tcp);
    let mut vitals = Vitals::default();
    let after = |check| {
        vitals.check(
            match check {
                '+' => Finding::Passed,
                '-' => Finding::Refused,
                'x' => Finding::Dead,
                other => panic!("{other}"),
            },
            &rules,
        );
        match (vitals.health(), vitals.is_dead(&rules)) {
            (Health::Up, false) => 'U',
            (Health::Down, false) => 'D',
            (Health::Down, true) => 'X',
            other => panic!("{other:?}"),
        }
    };
    checks.chars().map(after).collect()
}

#[test]
fn believes_checks_when_enough_agree() {
    for (checks, health) in [
        // The first decides alone; nobody is dead after one look.
        ("+", "U"),
        ("-", "D"),
        ("x", "D"),
        ("xxx+", "DDXD"),
        // fall = 3, and in a row.
        ("+xx+xx+", "UUUUUUU"),
        ("+xxxx", "UUUXX"),
        // rise = 2, and in a row.
        ("x+x+x++", "DDDDDDU"),
        // Who refuses is not dead.
        ("+---", "UUUD"),
        ("+xx-xx", "UUUDDD"),
        ("+xx-xxx", "UUUDDDX"),
        // A single pass takes death back, but the backend is not up yet.
        ("+xxx+x+", "UUUXDDD"),
        ("+xxx++", "UUUXDU"),
    ] {
        assert_eq!(after(checks), health, "{checks}");
    }
}

#[test]
fn doubts_when_the_last_check_disagrees() {
    let rules = rules(Check::Tcp);
    let mut vitals = Vitals::default();
    let mut doubts = |finding| {
        vitals.check(finding, &rules);
        vitals.doubt() == Doubt::Yes
    };

    assert!(!doubts(Finding::Passed));
    assert!(doubts(Finding::Dead));
    assert!(doubts(Finding::Dead));
    assert!(!doubts(Finding::Dead));
    assert!(doubts(Finding::Passed));
    assert!(!doubts(Finding::Dead));
}

/// A backend that three clients could not reach at `now`.
fn failing(rules: &Rules, now: Instant) -> Vitals {
    let mut vitals = Vitals::default();
    for _ in 0..2 {
        vitals.failed(Why::Unreachable, rules, now);
        assert_eq!(vitals.health(), Health::Up);
    }
    vitals.failed(Why::Unreachable, rules, now);
    assert_eq!(vitals.health(), Health::Failing);
    vitals
}

#[tokio::test(start_paused = true)]
async fn gives_a_failing_backend_a_trial_of_one_client_at_a_time() {
    let (rules, now) = (rules(Check::None), Instant::now());
    let mut vitals = failing(&rules, now);

    vitals.tick(now + TIMEOUT - A_MOMENT);
    assert_eq!(vitals.health(), Health::Failing);
    let later = now + TIMEOUT;
    vitals.tick(later);
    assert_eq!(vitals.health(), Health::Up);
    assert!(vitals.admits(&rules, later));
    assert!(!vitals.admits(&rules, later));
    // A client whose end nobody heard of does not keep the others away for ever.
    assert!(vitals.admits(&rules, later + TIMEOUT));

    vitals.served();
    assert!(vitals.admits(&rules, later));
    assert!(vitals.admits(&rules, later));
}

#[tokio::test(start_paused = true)]
async fn calls_dead_only_what_a_trial_has_confirmed() {
    let (rules, now) = (rules(Check::None), Instant::now());
    for (trial, is_dead) in [(Why::Unreachable, true), (Why::Silent, false)] {
        let mut vitals = failing(&rules, now);
        assert!(!vitals.is_dead(&rules));
        vitals.tick(now + TIMEOUT);
        assert!(vitals.admits(&rules, now + TIMEOUT));
        vitals.failed(trial, &rules, now + TIMEOUT);

        assert_eq!(vitals.health(), Health::Failing);
        assert_eq!(vitals.is_dead(&rules), is_dead, "{trial:?}");
        vitals.served();
        assert!(!vitals.is_dead(&rules));
    }
}

#[tokio::test(start_paused = true)]
async fn counts_failures_in_a_row_and_of_late() {
    let (rules, now) = (rules(Check::None), Instant::now());

    let mut vitals = Vitals::default();
    for _ in 0..5 {
        vitals.failed(Why::Silent, &rules, now);
        vitals.failed(Why::Silent, &rules, now);
        vitals.served();
    }
    assert_eq!(vitals.health(), Health::Up);

    let mut vitals = Vitals::default();
    for n in 0..5 {
        vitals.failed(Why::Silent, &rules, now + n * (TIMEOUT / 2 + A_MOMENT));
    }
    assert_eq!(vitals.health(), Health::Up);
}

#[tokio::test(start_paused = true)]
async fn does_not_count_what_a_client_can_provoke() {
    let (rules, now) = (rules(Check::None), Instant::now());
    let mut vitals = Vitals::default();
    for _ in 0..100 {
        vitals.failed(Why::Lost, &rules, now);
        vitals.failed(Why::Local, &rules, now);
    }
    assert_eq!(vitals.health(), Health::Up);

    // On trial it leaves the next client its turn.
    let mut vitals = failing(&rules, now);
    vitals.tick(now + TIMEOUT);
    assert!(vitals.admits(&rules, now + TIMEOUT));
    vitals.failed(Why::Lost, &rules, now + TIMEOUT);
    assert!(vitals.admits(&rules, now + TIMEOUT));
}

#[tokio::test(start_paused = true)]
async fn lets_a_check_that_knows_more_end_what_clients_found() {
    let now = Instant::now();
    for (check, health) in [(mqtt(), Health::Up), (Check::Tcp, Health::Failing)] {
        let rules = rules(check);
        let mut vitals = failing(&rules, now);
        vitals.check(Finding::Passed, &rules);
        assert_eq!(vitals.health(), Health::Failing);
        vitals.check(Finding::Passed, &rules);

        assert_eq!(vitals.health(), health, "{:?}", rules.check);
        assert!(!vitals.is_dead(&rules));
    }
}

#[tokio::test(start_paused = true)]
async fn knows_nothing_of_a_backend_that_moved() {
    let (rules, now) = (rules(Check::Tcp), Instant::now());
    let mut vitals = failing(&rules, now);
    for _ in 0..3 {
        vitals.check(Finding::Dead, &rules);
    }
    assert!(vitals.is_dead(&rules));

    vitals.forget();

    assert_eq!(vitals.health(), Health::Up);
    assert!(!vitals.is_dead(&rules));
}
