//! Routes by what a client says in its handshake.

use std::net::{Ipv6Addr, SocketAddr};

use harness::daemon::Daemon;
use harness::echo::Echo;
use harness::tls::VERSIONS;

use super::{connect, localhost, setup};

/// Pools, and the route to each.
const ROUTES: [(&str, &str); 4] = [
    ("exact", r#"sni = ["Localhost"]"#),
    ("glob", r#"sni_glob = ["*.plant-?.example.org"]"#),
    ("alpn", r#"alpn = ["x-mqtt", "mqtt"]"#),
    ("both", "sni = [\"b.example.org\"]\nalpn = [\"mqtt\"]"),
];

fn opened(daemon: &Daemon, backend: &str) -> u64 {
    daemon.backend(backend)["opened"]
        .as_u64()
        .expect("it counts")
}

#[test]
fn names_and_protocols_lead_to_pools() {
    let (authority, _) = localhost();
    let names = [
        "localhost",
        "x.plant-1.example.org",
        "b.example.org",
        "127.0.0.1",
    ];
    let issued = authority.issue("all", &names);
    let (mut setup, _echo) = setup(&issued, "alpn = [\"x-mqtt\", \"mqtt\"]");
    let mut brokers = Vec::new();
    // The one with both conditions comes first, as the first that matches decides.
    for (name, condition) in ROUTES.iter().rev() {
        let echo = Echo::start_at(SocketAddr::new(Ipv6Addr::LOCALHOST.into(), 0));
        setup = setup
            .with(&format!(
                "[[routes]]\nname = {name:?}\npool = {name:?}\n{condition}"
            ))
            .with(&format!("[[pools]]\nname = {name:?}"))
            .backend(name, echo.address);
        brokers.push(echo);
    }
    let daemon = setup.start();

    for tls in VERSIONS {
        for (route, name, offered) in [
            ("exact", "localhost", &[][..]),
            ("glob", "x.plant-1.example.org", &[]),
            ("both", "b.example.org", &["other", "mqtt"]),
            ("echo", "b.example.org", &[]),
            ("alpn", "127.0.0.1", &["mqtt"]),
            ("alpn", "localhost", &["mqtt", "x-mqtt"]),
            ("echo", "127.0.0.1", &[]),
        ] {
            for address in [daemon.address(), daemon.address_v6()] {
                let before = opened(&daemon, route);
                let believer = authority.believer(tls).offer(offered);
                let dialled = believer.dial(address, name);
                let mut client = dialled.unwrap_or_else(|error| panic!("{name}: {error}"));
                client.introduce(&connect("routed"));
                client.send(b"word");
                assert_eq!(client.bytes(4), b"word");
                assert_eq!(opened(&daemon, route), before + 1, "{name} {offered:?}");
                let asked = if offered.contains(&"x-mqtt") {
                    Some("x-mqtt")
                } else {
                    offered.contains(&"mqtt").then_some("mqtt")
                };
                assert_eq!(client.alpn(), asked.map(str::as_bytes));
            }
        }
        // RFC 7301 section 3.2: none that both speak.
        let refused = authority.believer(tls).offer(&["http/1.1"]);
        let before = daemon.refused("tls");
        let alert = refused.dial(daemon.address(), "localhost");
        let alert = alert.expect_err("it is turned away").to_string();
        assert!(alert.contains("NoApplicationProtocol"), "{alert}");
        assert_eq!(daemon.refused("tls"), before + 1);
    }
    explains(&daemon);
}

/// `sluice explain` knows what a client says by TLS.
fn explains(daemon: &Daemon) {
    let explained =
        |arguments: &[&str]| daemon.told(&[&["explain", "--client-id", "x"], arguments].concat());
    let with_both = explained(&["--sni", "B.example.org", "--alpn", "mqtt"]);
    assert!(with_both.contains("route       both"), "{with_both}");
    let without = explained(&["--sni", "b.example.org"]);
    assert!(without.contains("route       none matches"), "{without}");
}
