//! Clients that do not speak TLS, or not well.

use std::io::Write as _;
use std::net::TcpStream;

use harness::client::Client;
use harness::tls::{Secure, VERSIONS};
use harness::wait;

use super::{connect, localhost, setup};

/// Handshakes that never end, and how many there may be at a time: each counts as 16 KiB.
const HALF: usize = 200;
const KEPT: usize = 64;
/// `limits.pending_bytes`, with room for the longest CONNECT besides.
const PENDING_BYTES: u64 = 1 << 20;
const MEMORY: usize = 8 << 20;

/// The beginning of a ClientHello that says it has 512 bytes (RFC 8446 section 5.1).
const HELLO: [u8; 11] = [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];

#[test]
fn what_is_no_tls_is_told_so_and_counted() {
    let (authority, issued) = localhost();
    let (setup, _echo) = setup(&issued, "");
    let daemon = setup.limits(r#"connect_timeout = "1s""#).start();

    for garbage in [
        connect("plain").bytes(),
        vec![0xff; 70_000],
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        // An alert.
        vec![0x15, 3, 3, 0, 2, 2, 40],
    ] {
        let before = daemon.refused("tls");
        let mut client = Client::dial(daemon.address());
        // All of it may not be taken.
        client.0.write_all(&garbage).ok();
        let alert = client.rest();
        assert!(alert.is_empty() || alert[0] == 0x15, "{alert:?}");
        assert_eq!(daemon.refused("tls"), before + 1, "{:?}", &garbage[..4]);
    }

    let scanned = daemon.refused("closed");
    drop(Client::dial(daemon.address()));
    let mut half = Client::dial(daemon.address());
    half.send(&HELLO);
    half.0
        .shutdown(std::net::Shutdown::Write)
        .expect("it is connected");
    assert!(half.rest().len() <= 7);
    wait::until("both are counted", || {
        daemon.refused("closed") == scanned + 2
    });

    // One that says nothing, one that stops half way, one that says nothing behind its handshake.
    let silent = Client::dial(daemon.address());
    let mut stopped = Client::dial(daemon.address());
    stopped.send(&HELLO);
    let dialled = authority
        .believer(VERSIONS[1])
        .dial(daemon.address(), "localhost");
    let mut mute = dialled.expect("hands are shaken");
    wait::until("all three are given up", || daemon.refused("too_slow") == 3);
    drop((silent, stopped));
    assert_eq!(mute.rest().expect("the end is told"), b"");

    let dialled = authority
        .believer(VERSIONS[0])
        .dial(daemon.address(), "localhost");
    let mut client = dialled.expect("others go on");
    client.introduce(&connect("other"));
    assert_eq!(daemon.status()["admission"]["pending_bytes"], 0);
}

#[test]
fn malformed_mqtt_within_tls_is_refused_as_without() {
    let (authority, issued) = localhost();
    let (setup, _echo) = setup(&issued, "");
    let daemon = setup.start();

    for tls in VERSIONS {
        let dialled = authority.believer(tls).dial(daemon.address(), "localhost");
        let mut client = dialled.expect("hands are shaken");
        // A SUBSCRIBE before any CONNECT.
        client.send(&[0x82, 5, 0, 1, 0, 0, 0]);
        assert_eq!(client.rest().expect("the end is told"), b"");

        let dialled = authority.believer(tls).dial(daemon.address(), "localhost");
        let mut client = dialled.expect("hands are shaken");
        let mut unknown = connect("future").bytes();
        unknown[8] = 6;
        client.send(&unknown);
        let told = client.rest().expect("the end is told");
        assert_eq!(told.first(), Some(&0x20), "{told:?}");
    }
    assert_eq!(daemon.refused("malformed"), 4);
}

#[test]
fn handshakes_that_never_end_make_room_for_others() {
    let (authority, issued) = localhost();
    let (setup, _echo) = setup(&issued, "");
    let daemon = setup
        .limits(r#"pending_bytes = "1MiB""#)
        .limits(r#"connect_packet = "64KiB""#)
        .limits(r#"connect_timeout = "60s""#)
        .start();
    let held = || {
        let held = daemon.status()["admission"]["pending_bytes"].as_u64();
        let held = held.expect("it is a number");
        assert!(held <= PENDING_BYTES, "{held}");
        held
    };
    let resident = daemon.process.resident_bytes();

    let half: Vec<TcpStream> = (0..HALF)
        .map(|n| {
            let mut client = Client::dial(daemon.address());
            client.send(&HELLO);
            if n % 20 == 0 {
                held();
            }
            client.0
        })
        .collect();
    wait::until("the oldest are gone", || {
        held();
        daemon.refused("pending_bytes") >= (HALF - KEPT) as u64
    });
    let grown = daemon.process.resident_bytes().saturating_sub(resident);
    assert!(grown < MEMORY, "the daemon grew by {grown}");

    // Somebody with a long CONNECT finds room.
    let stream = Client::dial(daemon.address()).0;
    let config = authority.believer(VERSIONS[1]).config();
    let mut client = Secure::over(stream, config, "localhost").expect("hands are shaken");
    client.introduce(&connect(&"x".repeat(60_000)));
    held();
    drop(half);
    wait::until("nothing is held", || held() == 0);
}
