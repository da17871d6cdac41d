//! `sluice check` and `sluice status`, and daemons that must not start.

#![cfg(test)]

use std::process::{Command, Output};

use harness::binary;
use harness::broker::refusing;
use harness::client::Client;
use harness::echo::Echo;
use harness::setup::Setup;
use harness::wire::{Connect, Version};

/// `EX_CONFIG` of sysexits.h.
const EXIT_CONFIG: i32 = 78;

fn said(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("it writes UTF-8")
}

fn sluice(arguments: &[&str]) -> Output {
    Command::new(binary::sluice())
        .args(arguments)
        .output()
        .expect("sluice can be run")
}

#[test]
fn check_finds_no_problem_in_what_runs() {
    let checked = Setup::new().backend("a", refusing()).sluice("check");

    assert!(checked.status.success());
    assert!(
        said(&checked.stdout).ends_with("sluice.toml: no problems\n"),
        "{checked:?}"
    );
    assert_eq!(said(&checked.stderr), "");
}

#[test]
fn check_passes_every_shipped_configuration() {
    for name in ["sluice.toml", "minimal.toml"] {
        let file = binary::workspace().join("conf").join(name);
        let checked = sluice(&["check", "-c", &file.to_string_lossy()]);

        assert!(checked.status.success(), "{}", said(&checked.stderr));
    }
}

#[test]
fn check_tells_every_mistake_at_once() {
    let broken = Setup::new()
        .backend("a", refusing())
        .backend("a", refusing())
        .limits("connect_timeout = 10")
        .pool("weight = 1")
        .sluice("check");

    let complaints = said(&broken.stderr);
    assert_eq!(broken.status.code(), Some(EXIT_CONFIG), "{complaints}");
    for word in ["connect_timeout", "weight", "name", "sluice.toml:"] {
        assert!(complaints.contains(word), "{word} is missing: {complaints}");
    }
    assert_eq!(said(&broken.stdout), "");
}

#[test]
fn run_refuses_what_check_refuses() {
    let setup = Setup::new()
        .backend("a", refusing())
        .limits("connect_timeout = 10");

    let log = setup.refused();

    assert_eq!(log, said(&setup.sluice("check").stderr));
}

#[test]
fn a_missing_configuration_is_named() {
    let checked = sluice(&["check", "-c", "/nowhere/sluice.toml"]);

    assert_eq!(checked.status.code(), Some(1));
    let complaint = said(&checked.stderr);
    assert!(
        complaint.contains("/nowhere/sluice.toml: could not read"),
        "{complaint}"
    );
}

#[test]
fn status_shows_a_table_of_listeners_and_backends() {
    let echo = Echo::start();
    let daemon = Setup::new()
        .backend("echo", echo.address)
        .backend("idle", refusing())
        .start();
    let _clients: Vec<Client> = (0..8)
        .map(|n| {
            Client::open(
                daemon.address(),
                &Connect::new(Version::V5, &format!("c{n}")),
            )
        })
        .collect();

    let shown = daemon.show_status(&[]);

    let table = said(&shown.stdout);
    assert!(shown.status.success());
    let row = |name: &str| {
        let line = table
            .lines()
            .find(|line| line.split_whitespace().next() == Some(name));
        let line = line.unwrap_or_else(|| panic!("no row for {name}: {table}"));
        line.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let (v4, v6) = (
        daemon.address().to_string(),
        daemon.address_v6().to_string(),
    );
    assert_eq!(
        row("mqtt"),
        ["mqtt", &v4, &v6, "brokers", "no", "8", "8", "0", "-"]
    );
    assert_eq!(
        row("echo")[..9],
        [
            "echo",
            &echo.address.to_string(),
            "brokers",
            "1",
            "up",
            "8",
            "-",
            "0",
            "8"
        ]
    );
    assert_eq!(row("idle")[2..4], ["brokers", "1"]);
    assert_eq!(row("idle")[5..9], ["0", "-", "0", "0"]);
    assert_eq!(row("kernel"), ["kernel", "not", "in", "use"]);
}

#[test]
fn status_in_json_counts_what_happened() {
    let echo = Echo::start();
    let daemon = Setup::new().backend("echo", echo.address).start();
    let mut client = Client::open(daemon.address(), &Connect::new(Version::V3_1_1, "counted"));
    client.send(b"0123456789");
    client.bytes(10);

    let status = daemon.status();

    assert_eq!(status["pid"], daemon.process.id());
    assert_eq!(status["threads"], 2);
    assert_eq!(status["listeners"][0]["accepted"], 1);
    assert_eq!(status["backends"][0]["connections"], 1);
    assert_eq!(status["bytes"]["from_clients"], 10);
    assert_eq!(status["bytes"]["from_brokers"], 14);
    assert_eq!(status["datapath"]["path"], "copy");
}

#[test]
fn status_says_that_no_daemon_answers() {
    let shown = sluice(&["status", "--control", "/nowhere/control.sock"]);

    assert_eq!(shown.status.code(), Some(1));
    let complaint = said(&shown.stderr);
    assert!(
        complaint.contains("no balancer answers on /nowhere/control.sock"),
        "{complaint}"
    );
}

#[test]
fn a_second_daemon_on_the_same_control_socket_is_refused() {
    let setup = Setup::new().backend("a", refusing());
    let daemon = setup.start();

    let complaint = setup.bind(&[refusing()]).refused();

    assert!(
        complaint.contains("another daemon is running there"),
        "{complaint}"
    );
    assert!(
        daemon.status()["pid"] == daemon.process.id(),
        "the first one serves on"
    );
}

#[test]
fn a_second_daemon_on_the_same_port_is_refused() {
    let daemon = Setup::new().backend("a", refusing()).start();
    let address = daemon.address();

    let complaint = Setup::new()
        .backend("a", refusing())
        .bind(&[address])
        .refused();

    assert!(
        complaint.contains(&format!("could not listen on {address}")),
        "{complaint}"
    );
    assert!(complaint.contains("Address already in use"), "{complaint}");
}

#[test]
fn a_daemon_that_was_killed_leaves_nothing_in_the_way() {
    let setup = Setup::new().backend("a", refusing());
    setup.start().kill();

    assert!(setup.control().exists());
    let daemon = setup.start();

    assert_eq!(daemon.status()["pid"], daemon.process.id());
}
