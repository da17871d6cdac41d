//! The ends of connections: what one side said last reaches the other before the end does.

#![cfg(test)]

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use harness::broker::{self, Broker};
use harness::client::Client;
use harness::setup::Setup;
use harness::sockets;
use harness::wait::{self, PATIENCE};
use harness::wire::{self, Connect, Version};

const SERVER_SHUTTING_DOWN: u8 = 0x8b;

/// A message and the DISCONNECT of MQTT 5.0 behind it.
fn last_words() -> Vec<u8> {
    let message = wire::publish(Version::V5, "topic", &[b'x'; 30_000]);
    [message, wire::disconnect(SERVER_SHUTTING_DOWN)].concat()
}

/// A broker that says its last words over bytes it has not read, then does as `end` says.
fn broker_that_ends(end: impl Fn(TcpStream) + Send + Sync + 'static) -> (Broker, Receiver<()>) {
    let (ended, has_ended) = channel();
    let broker = Broker::start(move |mut stream| {
        broker::accept(&mut stream);
        let unread = stream.peek(&mut [0]).expect("the client sends");
        assert_eq!(unread, 1);
        stream.write_all(&last_words()).expect("the daemon reads");
        sockets::until_delivered(&stream);
        end(stream);
        ended.send(()).expect("the test listens");
    });
    (broker, has_ended)
}

/// The client reads only when the broker has gone.
fn reaches_a_slow_client(end: impl Fn(TcpStream) + Send + Sync + 'static) {
    let (broker, has_ended) = broker_that_ends(end);
    let daemon = Setup::new().backend("a", broker.address()).start();
    let mut client = Client::open(daemon.address(), &Connect::new(Version::V5, "slow"));

    client.send(&[0; 20_000]);
    has_ended.recv_timeout(PATIENCE).expect("the broker ends");

    assert!(client.rest() == last_words(), "the last words were lost");
    drop(client);
    wait::until("the session has ended", || daemon.connections() == 0);
}

#[test]
fn a_disconnect_before_a_reset_reaches_the_client() {
    reaches_a_slow_client(broker::reset);
}

#[test]
fn a_disconnect_before_a_close_over_unread_bytes_reaches_the_client() {
    reaches_a_slow_client(drop);
}

#[test]
fn a_disconnect_before_a_half_close_reaches_the_client() {
    reaches_a_slow_client(|stream| {
        stream.shutdown(Shutdown::Write).expect("it is connected");
    });
}

#[test]
fn a_disconnect_reaches_a_client_that_never_stops_sending() {
    let (broker, _has_ended) = broker_that_ends(broker::reset);
    let daemon = Setup::new().backend("a", broker.address()).start();
    let mut client = Client::dial_narrow(daemon.address());
    client.introduce(&Connect::new(Version::V5, "talker"));

    let mut sender = client.0.try_clone().expect("there is a descriptor");
    let talk = thread::spawn(move || while sender.write_all(&[0; 1000]).is_ok() {});
    // Most of the words are still with the daemon, and bytes of the client that nobody will read:
    // if it closed its socket now, they would be lost.
    sockets::until_closed(daemon.address().port());

    assert!(
        client.bytes(last_words().len()) == last_words(),
        "the last words were lost"
    );
    // What it goes on sending is refused in the end.
    talk.join().expect("sending ends");
    wait::until("the session has ended", || daemon.connections() == 0);
}

#[test]
fn a_client_may_finish_sending_first() {
    const ANSWER: usize = 3_000_000;
    let broker = Broker::start(|mut stream| {
        broker::accept(&mut stream);
        let mut request = Vec::new();
        stream
            .read_to_end(&mut request)
            .expect("the client closes its half");
        assert_eq!(request, b"request");
        stream.write_all(&[b'a'; ANSWER]).expect("the daemon reads");
    });
    let daemon = Setup::new().backend("a", broker.address()).start();
    let mut client = Client::dial(daemon.address());

    // All of it in one segment or two, and the end with it.
    client.send(
        &[
            Connect::new(Version::V3_1_1, "brief").bytes(),
            b"request".to_vec(),
        ]
        .concat(),
    );
    client.0.shutdown(Shutdown::Write).expect("it is connected");

    assert_eq!(client.packet(), wire::connack(4, 0, &[]));
    assert!(
        client.rest() == vec![b'a'; ANSWER],
        "the answer is not whole"
    );
    wait::until("the session has ended", || daemon.connections() == 0);
}

#[test]
fn a_broker_may_finish_sending_first() {
    const MORE: usize = 3_000_000;
    let (received, at_broker) = channel();
    let broker = Broker::start(move |mut stream| {
        broker::accept(&mut stream);
        stream.write_all(b"that is all").expect("the daemon reads");
        stream.shutdown(Shutdown::Write).expect("it is connected");
        let mut rest = Vec::new();
        stream
            .read_to_end(&mut rest)
            .expect("the client closes its half");
        received.send(rest).expect("the test listens");
    });
    let daemon = Setup::new().backend("a", broker.address()).start();
    let mut client = Client::open(daemon.address(), &Connect::new(Version::V3_1_1, "tireless"));

    assert_eq!(client.rest(), b"that is all");
    client.send(&[b'm'; MORE]);
    client.0.shutdown(Shutdown::Write).expect("it is connected");

    let rest = at_broker.recv_timeout(PATIENCE).expect("the broker reads");
    assert!(rest == vec![b'm'; MORE], "the broker did not get all");
    wait::until("the session has ended", || daemon.connections() == 0);
}

#[test]
fn a_client_that_resets_ends_the_session_at_the_broker() {
    let (ended, has_ended) = channel();
    let broker = Broker::start(move |mut stream| {
        broker::accept(&mut stream);
        let mut rest = Vec::new();
        drop(stream.read_to_end(&mut rest));
        ended.send(rest).expect("the test listens");
    });
    let daemon = Setup::new().backend("a", broker.address()).start();
    let mut client = Client::open(daemon.address(), &Connect::new(Version::V3_1_1, "rude"));

    client.send(b"last");
    sockets::until_read(daemon.address().port());
    broker::reset(client.0);

    assert_eq!(
        has_ended
            .recv_timeout(PATIENCE)
            .expect("the broker sees an end"),
        b"last"
    );
    wait::until("the session has ended", || daemon.connections() == 0);
}
