//! What the command line says of where clients go.

#![cfg(test)]

use std::process::Command;

use harness::binary;
use harness::broker::refusing;
use harness::client::Client;
use harness::echo::Echo;
use harness::setup::Setup;
use harness::wire::{Connect, Version};
use serde_json::Value;

/// What a subcommand answers in JSON.
fn asked(setup: &Setup, arguments: &[&str]) -> Value {
    let mut command = Command::new(binary::sluice());
    command.args(arguments).arg("--json").arg("--control");
    let output = command.arg(setup.control()).output();
    let output = output.expect("sluice can be run");
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).expect("it writes JSON")
}

#[test]
fn says_where_a_client_goes_and_how_many_would_move() {
    let brokers = [Echo::start(), Echo::start()];
    let setup = Setup::new()
        .backend("a", brokers[0].address)
        .backend("b", brokers[1].address)
        .with("[[routes]]\nname = \"own\"\npool = \"brokers\"\nclient_id_prefix = [\"own-\"]")
        .with("[[pools]]\nname = \"empty\"\n[pools.sticky]")
        .backend("c", brokers[0].address);
    let daemon = setup.start();

    for n in 0..8 {
        let id = format!("own-{n}");
        let told = asked(&setup, &["explain", "--client-id", &id]);
        drop(Client::open(
            daemon.address(),
            &Connect::new(Version::V3_1_1, &id),
        ));
        let status = daemon.status();
        let backends = status["backends"].as_array().expect("there is a list");
        let first = backends
            .iter()
            .find(|one| one["name"] == told["candidates"][0]);
        let opened = first.expect("it is one of them")["opened"].as_u64();
        assert!(opened > Some(0), "{told:#} {status:#}");
        assert_eq!(told["route"], "own");
        assert_eq!(told["because"], "balanced");
    }
    let moved = asked(&setup, &["simulate", "--remove", "a"]);
    let share = moved["moved"].as_u64().expect("it counts");
    assert!((4_500..=5_500).contains(&share), "{moved:#}");
    assert_eq!(moved["ids"], 10_000);
    let third = asked(&setup, &["simulate", "--weight", "a=2"]);
    let share = third["moved"].as_u64().expect("it counts");
    assert!((1_467..=1_867).contains(&share), "{third:#}");
    // One of three takes a third from each, one of twice the weight a half.
    for (added, moves) in [("d", 3_133..=3_533), ("d=2", 4_800..=5_200)] {
        let told = asked(&setup, &["simulate", "--add", added, "--pool", "brokers"]);
        let share = told["moved"].as_u64().expect("it counts");
        assert!(moves.contains(&share), "{told:#}");
        assert_eq!(told["pool"], "brokers");
    }
    for (arguments, wanted) in [
        (
            ["--add", "d"].as_slice(),
            "there are several pools: name one by --pool",
        ),
        (
            &["--add", "a", "--pool", "brokers"],
            "pool `brokers` has `a` already",
        ),
        (&["--add", "d", "--pool", "none"], "there is no pool `none`"),
        (&["--add", "d=0"], "a weight from 1 to 256"),
        (&["--add", "d=257"], "a weight is from 0 to 256"),
        (
            &["--remove", "a", "--pool", "brokers"],
            "cannot be used with",
        ),
    ] {
        let output = daemon.sluice(&[&["simulate"], arguments].concat());
        assert!(!output.status.success(), "{arguments:?}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(wanted), "{arguments:?}: {said}");
    }
}

#[test]
fn nobody_belongs_anywhere_where_load_decides() {
    let setup = Setup::new()
        .pool(r#"balance = "least_connections""#)
        .backend("a", refusing());
    let daemon = setup.start();

    let output = daemon.sluice(&["simulate", "--add", "b"]);

    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("does not go by client id"), "{said}");
}

#[test]
fn does_not_guess_where_addresses_lead() {
    let setup = Setup::new()
        .pool(r#"balance = "source""#)
        .backend("a", refusing())
        .backend("b", refusing());
    let daemon = setup.start();

    let output = daemon.sluice(&["simulate", "--remove", "a"]);

    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("pool `brokers` goes by address"), "{said}");
}
