//! Wills: a broker must learn how a client ended as if it were connected directly.

#![cfg(test)]

use harness::mosquitto::Mosquitto;
use harness::need;
use harness::paho::Paho;
use harness::setup::Setup;

fn fires_only_on_an_unclean_end(version: &str) {
    let paho = need!(Paho::find());
    let broker = need!(Mosquitto::start("a"));
    let daemon = Setup::new().backend("a", broker.address).start();

    paho.run("wills.py", &[&daemon.address().to_string(), version]);

    assert_eq!(daemon.backend_sum("opened"), 3);
}

#[test]
fn a_will_of_3_1_fires_only_on_an_unclean_end() {
    fires_only_on_an_unclean_end("3.1");
}

#[test]
fn a_will_of_3_1_1_fires_only_on_an_unclean_end() {
    fires_only_on_an_unclean_end("3.1.1");
}

#[test]
fn a_will_of_5_0_fires_only_on_an_unclean_end() {
    fires_only_on_an_unclean_end("5.0");
}
