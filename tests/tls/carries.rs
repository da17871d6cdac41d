//! Bytes: whole, in order, as long as there is somebody on either side.

use std::io::Write as _;
use std::net::Shutdown;
use std::sync::mpsc::channel;
use std::thread;

use harness::broker::{self, Broker};
use harness::mosquitto::Mosquitto;
use harness::paho::Paho;
use harness::setup::Setup;
use harness::tls::{Secure, VERSIONS};
use harness::wait::{self, PATIENCE};
use harness::wire::{self, Connect, Version};
use harness::{need, sockets};

use super::{connect, localhost, setup};

/// More than sockets and TLS hold between a client that does not read and a broker.
const TOO_MUCH: usize = 32 << 20;
/// What the daemon may hold of that.
const MEMORY: usize = 8 << 20;

#[test]
fn every_version_talks_over_every_version_of_tls_and_both_families() {
    let (authority, issued) = localhost();
    let (setup, _echo) = setup(&issued, "");
    let daemon = setup.start();

    for tls in VERSIONS {
        for (address, name) in [
            (daemon.address(), "127.0.0.1"),
            (daemon.address_v6(), "localhost"),
        ] {
            for version in Version::ALL {
                let dialled = authority.believer(tls).dial(address, name);
                let mut client = dialled.expect("hands are shaken");
                assert_eq!(client.version(), tls.version);
                client.introduce(&Connect::new(version, "client"));
                for length in [2, 64, 16_384, 16_385, 1 << 20] {
                    let words: Vec<u8> = (0..length)
                        .map(|n: usize| n.to_le_bytes()[0] ^ n.to_le_bytes()[1])
                        .collect();
                    // The echo takes no more than a socket buffer at a time.
                    for part in words.chunks(16_000) {
                        client.send(part);
                        assert!(client.bytes(part.len()) == part, "{length} bytes");
                    }
                }
            }
        }
    }
    assert_eq!(daemon.chosen("tls"), 12);
    assert_eq!(daemon.status()["listeners"][0]["tls"], true);
}

#[test]
fn a_connect_may_come_in_parts_and_with_more_behind_it() {
    let (authority, issued) = localhost();
    let (setup, _echo) = setup(&issued, "");
    let daemon = setup.limits(r#"connect_packet = "128KiB""#).start();
    let long = Connect::new(Version::V3_1_1, &"x".repeat(65_535));
    let behind = wire::publish(Version::V3_1_1, "topic", b"pipelined");

    for tls in VERSIONS {
        let dialled = || {
            let dialled = authority.believer(tls).dial(daemon.address(), "localhost");
            dialled.expect("hands are shaken")
        };
        let mut in_parts = dialled();
        for byte in connect("in parts").bytes() {
            in_parts.send(&[byte]);
        }
        assert_eq!(in_parts.packet()[0], wire::CONNACK);

        let mut at_once = dialled();
        at_once.send(&[long.bytes(), behind.clone()].concat());
        assert_eq!(at_once.packet(), wire::connack(4, 0, &[]));
        assert_eq!(at_once.packet(), behind);
    }
}

#[test]
fn both_ways_at_once_is_whole() {
    let (authority, issued) = localhost();
    let (setup, _echo) = setup(&issued, "");
    let (broker, has_ended) = busy_broker();
    let daemon = setup
        .without_backends()
        .backend("busy", broker.address())
        .start();

    for tls in VERSIONS {
        let dialled = authority.believer(tls).dial(daemon.address(), "localhost");
        let mut client = dialled.expect("hands are shaken");
        client.introduce(&connect("busy"));
        // It writes much before it reads, so that either side is held back for a while.
        for word in 0..u8::MAX {
            client.send(&[word; 4_000]);
        }
        client.finish();
        let rest = client.rest().expect("the end is told");
        let expected: Vec<u8> = (0..u8::MAX).flat_map(|word| [word; 4_000]).collect();
        assert!(rest == expected, "{} bytes came", rest.len());
        has_ended.recv_timeout(PATIENCE).expect("the broker ends");
    }
}

/// It sends while it receives, the same bytes, and tells when it has received all.
fn busy_broker() -> (Broker, std::sync::mpsc::Receiver<()>) {
    let (ended, has_ended) = channel();
    let broker = Broker::start(move |mut stream| {
        broker::accept(&mut stream);
        let mut copy = stream.try_clone().expect("there is a descriptor");
        let sender = thread::spawn(move || {
            for word in 0..u8::MAX {
                copy.write_all(&[word; 4_000]).expect("the daemon reads");
            }
        });
        let mut received = Vec::new();
        std::io::Read::read_to_end(&mut stream, &mut received).expect("the end comes");
        assert_eq!(received.len(), 4_000 * usize::from(u8::MAX));
        sender.join().expect("it sends");
        stream.shutdown(Shutdown::Write).expect("it is connected");
        ended.send(()).expect("the test listens");
    });
    (broker, has_ended)
}

#[test]
fn last_words_and_the_end_of_both_sides_are_told() {
    let (authority, issued) = localhost();
    let (setup, _echo) = setup(&issued, "");
    let words = [
        wire::publish(Version::V5, "topic", &[b'x'; 30_000]),
        wire::disconnect(0x8b),
    ]
    .concat();
    let said = words.clone();
    let broker = Broker::start(move |mut stream| {
        broker::accept(&mut stream);
        let unread = stream.peek(&mut [0]).expect("the client sends");
        assert_eq!(unread, 1);
        stream.write_all(&said).expect("the daemon reads");
        sockets::until_delivered(&stream);
        broker::reset(stream);
    });
    let daemon = setup
        .without_backends()
        .backend("ends", broker.address())
        .start();

    for tls in VERSIONS {
        let dialled = authority.believer(tls).dial(daemon.address(), "localhost");
        let mut client = dialled.expect("hands are shaken");
        client.introduce(&connect("told"));
        client.send(&[0; 20_000]);
        assert!(client.rest().expect("the end is told") == words);
        drop(client);
        wait::until("the session has ended", || daemon.connections() == 0);
    }
}

#[test]
fn a_client_that_does_not_read_is_held_back() {
    let (authority, issued) = localhost();
    let (setup, _echo) = setup(&issued, "");
    let broker = Broker::start(|mut stream| {
        broker::accept(&mut stream);
        let block = [7; 1 << 16];
        for _ in 0..TOO_MUCH / block.len() {
            if stream.write_all(&block).is_err() {
                return;
            }
        }
    });
    let daemon = setup
        .without_backends()
        .backend("fast", broker.address())
        .start();
    let resident = daemon.process.resident_bytes();

    let dialled = authority
        .believer(VERSIONS[1])
        .dial(daemon.address(), "localhost");
    let mut client = dialled.expect("hands are shaken");
    client.introduce(&connect("slow"));
    let passed = || daemon.status()["bytes"]["from_brokers"].as_u64();
    let mut last = passed();
    wait::until("nothing more is taken from the broker", || {
        thread::sleep(std::time::Duration::from_millis(300));
        let now = passed();
        std::mem::replace(&mut last, now) == now
    });

    let grown = daemon.process.resident_bytes().saturating_sub(resident);
    assert!(grown < MEMORY, "the daemon grew by {grown}");
    assert!(client.bytes(TOO_MUCH).iter().all(|byte| *byte == 7));
}

#[test]
fn silence_and_a_drain_end_clients_of_tls_too() {
    let (authority, issued) = localhost();
    let (setup, _echo) = setup(&issued, "");
    let daemon = setup.limits(r#"idle_margin = "0s""#).start();
    let open = |keep_alive| {
        let dialled = authority
            .believer(VERSIONS[1])
            .dial(daemon.address(), "localhost");
        let mut client = dialled.expect("hands are shaken");
        client.introduce(&connect("ends").keep_alive(keep_alive));
        client
    };

    let mut silent = open(1);
    let mut drained = open(0);

    assert_eq!(silent.rest().expect("the end is told"), b"");
    daemon.told(&["drain", "echo", "--rate", "100"]);
    assert_eq!(drained.rest().expect("the end is told"), b"");
    wait::until("both have ended", || daemon.connections() == 0);
}

#[test]
fn an_upgrade_ends_no_session() {
    let (authority, issued) = localhost();
    let (setup, _echo) = setup(&issued, "");
    let old = setup.start();
    let address = old.address();
    let open = |id| {
        let dialled = authority.believer(VERSIONS[1]).dial(address, "localhost");
        let mut client = dialled.expect("hands are shaken");
        client.introduce(&connect(id));
        client
    };
    let mut early = open("early");

    let new = setup.argument("--replace").start();
    wait::until("the new one answers", || {
        new.status()["pid"] == new.process.id()
    });

    let mut late = open("late");
    assert_eq!(new.chosen("tls"), 1);
    for client in [&mut early, &mut late] {
        client.send(b"still here");
        assert_eq!(client.bytes(10), b"still here");
    }
}

#[test]
fn real_clients_and_brokers_deliver_at_every_qos() {
    let paho = need!(Paho::find());
    let broker = need!(Mosquitto::start("a"));
    let (authority, issued) = localhost();
    let daemon = Setup::new()
        .listener(&format!("[listeners.tls]\n{}", issued.lines()))
        .backend("a", broker.address)
        .start();
    let believed = authority.file();
    let believed = believed.to_str().expect("it is text");

    for (address, version) in [
        (daemon.address(), "3.1"),
        (daemon.address_v6(), "3.1.1"),
        (daemon.address(), "5.0"),
    ] {
        paho.run("delivery.py", &[&address.to_string(), version, believed]);
    }

    assert_eq!(daemon.chosen("tls"), 6);
}

#[test]
fn tickets_save_a_handshake() {
    let (authority, issued) = localhost();
    let (setup, _echo) = setup(&issued, "");
    let daemon = setup.start();

    for tls in VERSIONS {
        let config = authority.believer(tls).config();
        let kinds = [(); 2].map(|()| {
            let stream = harness::client::Client::dial(daemon.address()).0;
            let opened = Secure::over(stream, std::sync::Arc::clone(&config), "localhost");
            let mut client = opened.expect("hands are shaken");
            // The ticket of TLS 1.3 comes behind the handshake.
            client.introduce(&connect("again"));
            client.kind()
        });
        let [first, second] = kinds;
        assert_eq!(first, rustls::HandshakeKind::Full, "{tls:?}");
        assert_eq!(second, rustls::HandshakeKind::Resumed, "{tls:?}");
    }
}
