//! The daemon as a user who may do nothing special: it serves, and says what it does without.

#![cfg(test)]

use harness::client::Client;
use harness::echo::Echo;
use harness::mosquitto::Mosquitto;
use harness::need;
use harness::paho::Paho;
use harness::process;
use harness::setup::Setup;
use harness::wire::{Connect, Version};

const MISSING: &str = "needs CAP_NET_ADMIN, CAP_PERFMON, CAP_BPF; run as root";

/// A daemon without privileges that may use the kernel.
fn unprivileged() -> Setup {
    Setup::new().unprivileged().kernel(r#"mode = "auto""#)
}

#[test]
fn real_clients_are_served_on_the_copy_path() {
    need!(process::root());
    let paho = need!(Paho::find());
    let broker = need!(Mosquitto::start("a"));
    let daemon = unprivileged().backend("a", broker.address).start();

    for version in ["3.1.1", "5.0"] {
        paho.run("delivery.py", &[&daemon.address().to_string(), version]);
    }

    assert_eq!(daemon.status()["datapath"]["path"], "copy");
}

#[test]
fn what_is_missing_is_logged_once_and_shown_in_the_status() {
    need!(process::root());
    let echo = Echo::start();
    let daemon = unprivileged().backend("echo", echo.address).start();

    for n in 0..3 {
        Client::open(
            daemon.address(),
            &Connect::new(Version::V5, &format!("c{n}")),
        );
    }

    let log = daemon.log();
    assert_eq!(log.matches(MISSING).count(), 1, "{log}");
    let status = daemon.status();
    assert_eq!(status["kernel"]["loaded"], false);
    assert_eq!(status["downgrades"].as_array().map(Vec::len), Some(1));
    assert!(
        status["downgrades"][0].to_string().contains(MISSING),
        "{status:#}"
    );
    let table = String::from_utf8_lossy(&daemon.show_status(&[]).stdout).into_owned();
    assert!(table.contains(MISSING), "{table}");
}

#[test]
fn a_daemon_that_requires_the_kernel_does_not_start() {
    need!(process::root());
    let echo = Echo::start();
    let setup = Setup::new().unprivileged().kernel(r#"mode = "required""#);

    let complaint = setup.backend("echo", echo.address).refused();

    assert!(
        complaint.contains(r#"`kernel.mode` is "required", but the kernel half is not available"#),
        "{complaint}"
    );
    assert!(complaint.contains(MISSING), "{complaint}");
}
