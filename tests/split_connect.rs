//! A CONNECT cut into any pieces, with packets behind it, on its way to a real broker.

#![cfg(test)]

use harness::client::Client;
use harness::daemon::Daemon;
use harness::mosquitto::Mosquitto;
use harness::setup::Setup;
use harness::sockets;
use harness::wire::{self, Connect, Version};
use harness::{namespace, need};

/// CONNECT, SUBSCRIBE, and a PUBLISH that comes back.
struct Opening {
    version: Version,
    id: String,
    bytes: Vec<u8>,
}

impl Opening {
    fn new(connect: &Connect, version: Version, id: &str) -> Self {
        let mut bytes = connect.bytes();
        bytes.extend(wire::subscribe(version, id));
        bytes.extend(wire::publish(version, id, id.as_bytes()));
        Self {
            version,
            id: id.to_owned(),
            bytes,
        }
    }

    fn plain(version: Version, id: &str) -> Self {
        Self::new(&Connect::new(version, id), version, id)
    }

    fn with_everything(version: Version, id: &str) -> Self {
        Self::new(&Connect::new(version, id).with_everything(), version, id)
    }

    fn is_answered(&self, client: &mut Client) {
        let connack = client.packet();
        assert_eq!(
            (connack[0], connack[3]),
            (wire::CONNACK, 0),
            "{}: {connack:?}",
            self.id
        );
        assert_eq!(client.packet()[0], wire::SUBACK, "{}", self.id);
        assert_eq!(
            client.packet(),
            wire::publish(self.version, &self.id, self.id.as_bytes())
        );
    }
}

/// Sends an opening in two parts, once for every place to cut it.
fn serves_every_split(daemon: &Daemon, opening: impl Fn(&str) -> Opening) {
    let length = opening("split-0000").bytes.len();
    let mut halves = Vec::new();
    for at in 1..length {
        let opening = opening(&format!("split-{at:04}"));
        let mut client = Client::dial(daemon.address());
        client.send(&opening.bytes[..at]);
        halves.push((client, opening, at));
    }
    sockets::until_read(daemon.address().port());

    for (client, opening, at) in &mut halves {
        client.send(&opening.bytes[*at..]);
    }

    for (mut client, opening, _) in halves {
        opening.is_answered(&mut client);
    }
}

#[test]
fn a_plain_connect_may_be_split_at_every_byte() {
    let broker = need!(Mosquitto::start("a"));
    let daemon = Setup::new().backend("a", broker.address).start();

    for version in Version::ALL {
        serves_every_split(&daemon, |id| Opening::plain(version, id));
    }
}

#[test]
fn a_connect_with_everything_may_be_split_at_every_byte() {
    let broker = need!(Mosquitto::start("a"));
    let daemon = Setup::new().backend("a", broker.address).start();

    for version in Version::ALL {
        serves_every_split(&daemon, |id| Opening::with_everything(version, id));
    }
}

#[test]
fn every_byte_may_come_alone() {
    // Where it can be had: a look at the sockets of a busy network takes long.
    namespace::enter_new().ok();
    let broker = need!(Mosquitto::start("a"));
    let patient = Setup::new().limits(r#"connect_timeout = "5m""#);
    let daemon = patient.backend("a", broker.address).start();

    for version in Version::ALL {
        let opening = Opening::with_everything(version, "alone");
        let mut client = Client::dial(daemon.address());
        for byte in &opening.bytes {
            client.send(&[*byte]);
            sockets::until_read(daemon.address().port());
        }
        opening.is_answered(&mut client);
    }
}

#[test]
fn all_of_it_may_come_at_once() {
    let broker = need!(Mosquitto::start("a"));
    let daemon = Setup::new().backend("a", broker.address).start();

    for version in Version::ALL {
        let opening = Opening::with_everything(version, "whole");
        let mut client = Client::dial(daemon.address());
        client.send(&opening.bytes);
        opening.is_answered(&mut client);
    }
}
