//! Persistent sessions: a client that comes back finds the broker that kept its messages.

#![cfg(test)]

use harness::mosquitto::Mosquitto;
use harness::need;
use harness::paho::Paho;
use harness::setup::Setup;

/// The client leaves, messages for it come in, the daemon restarts, the client comes back.
fn is_resumed(version: &str) {
    let paho = need!(Paho::find());
    let brokers = [
        need!(Mosquitto::start("a")),
        need!(Mosquitto::start("b")),
        need!(Mosquitto::start("c")),
    ];
    let setup = brokers.iter().fold(Setup::new(), |setup, broker| {
        setup.backend(&broker.name, broker.address)
    });
    let mut daemon = setup.start();
    let address = daemon.address().to_string();

    for n in 0..3 {
        let id = format!("sleeper-{n}");
        let name = paho.run("session_leave.py", &[&address, version, &id]);
        let broker = brokers
            .iter()
            .find(|broker| broker.name == name)
            .expect("it is one of ours");
        let direct = broker.address.to_string();
        paho.run(
            "publish.py",
            &[
                &direct,
                version,
                "writer",
                &format!("inbox/{id}"),
                "one",
                "two",
            ],
        );
        if n == 1 {
            daemon.terminate();
            daemon = setup.start();
        }

        assert_eq!(
            paho.run("session_resume.py", &[&address, version, &id, "one", "two"]),
            name
        );
    }
}

#[test]
fn a_session_of_3_1_is_resumed_on_the_same_broker() {
    is_resumed("3.1");
}

#[test]
fn a_session_of_3_1_1_is_resumed_on_the_same_broker() {
    is_resumed("3.1.1");
}

#[test]
fn a_session_of_5_0_is_resumed_on_the_same_broker() {
    is_resumed("5.0");
}
