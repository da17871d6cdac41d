//! Clients that belong to different pools.

#![cfg(test)]

use std::net::SocketAddr;

use harness::bed::{Bed, Family};
use harness::bpftool::Pins;
use harness::client::Client;
use harness::daemon::Daemon;
use harness::echo::Echo;
use harness::need;
use harness::setup::Setup;
use harness::shape::Shape;
use harness::wire::{Connect, Version};

/// The first that matches leads to a pool of its own; whoever matches none stays in `brokers`.
const ROUTES: [(&str, &str); 6] = [
    ("user", r#"user_name = ["acme"]"#),
    ("prefix", r#"client_id_prefix = ["plant-"]"#),
    ("glob", r#"client_id_glob = ["*/press-?"]"#),
    ("regex", r#"client_id_regex = ["^[0-9a-f]{12}$"]"#),
    ("source", r#"source = ["127.0.0.2"]"#),
    ("old", "versions = [\"3.1\"]\nclean = \"no\""),
];

/// A pool for every route, and the brokers behind them.
fn routed(setup: Setup, broker: impl Fn(u16) -> Echo) -> (Setup, Vec<Echo>) {
    let mut brokers = vec![broker(1000)];
    let mut setup = setup.backend("default", brokers[0].address);
    for ((name, condition), port) in ROUTES.into_iter().zip(1001..) {
        let echo = broker(port);
        setup = setup
            .with(&format!(
                "[[routes]]\nname = {name:?}\npool = {name:?}\n{condition}"
            ))
            .with(&format!("[[pools]]\nname = {name:?}"))
            .backend(name, echo.address);
        brokers.push(echo);
    }
    (setup, brokers)
}

/// Who connects, and the route that is theirs.
fn clients() -> Vec<(&'static str, Connect)> {
    let v5 = |id: &str| Connect::new(Version::V5, id);
    vec![
        ("user", v5("plant-1").user_name("acme")),
        ("prefix", v5("plant-1/press-1")),
        ("prefix", v5("plant-1").user_name("acme2")),
        ("glob", Connect::new(Version::V3_1_1, "hall/press-7")),
        ("default", Connect::new(Version::V3_1_1, "hall/press-77")),
        ("regex", v5("00a0c914c829")),
        ("default", v5("00a0c914c82")),
        ("old", Connect::new(Version::V3_1, "ancient").keep_session()),
        ("default", Connect::new(Version::V3_1, "ancient")),
        ("default", v5("ancient").keep_session()),
        ("default", v5("")),
    ]
}

fn opened(daemon: &Daemon, backend: &str) -> u64 {
    let status = daemon.status();
    let backends = status["backends"].as_array().expect("there is a list");
    let found = backends.iter().find(|found| found["name"] == backend);
    let found = found.unwrap_or_else(|| panic!("{backend} in {status:#}"));
    found["opened"].as_u64().expect("it counts")
}

#[test]
fn the_first_route_that_matches_decides() {
    let (setup, _brokers) = routed(Setup::new(), |_| Echo::start());
    let daemon = setup.start();

    for (route, connect) in clients() {
        let before = opened(&daemon, route);
        drop(Client::open(daemon.address(), &connect));
        assert_eq!(opened(&daemon, route), before + 1, "{connect:?}");
    }
    let shape = Shape {
        source_address: Some([127, 0, 0, 2].into()),
        ..Shape::default()
    };
    let neighbour = Connect::new(Version::V5, "neighbour");
    Client::over(shape.dial(daemon.address())).introduce(&neighbour);
    assert_eq!(opened(&daemon, "source"), 1);
}

#[test]
fn routed_clients_are_spliced() {
    for family in Family::BOTH {
        let mut bed = need!(Bed::new(family));
        let at = |port| SocketAddr::new(family.broker().ip(), port);
        let setup = Setup::new()
            .bind(&[family.balancer()])
            .with_kernel(need!(Pins::new()))
            .kernel(r#"interfaces = ["clients", "brokers"]"#);
        let echo = |port| bed.topology.broker.run(|| Echo::start_at(at(port)));
        let (setup, _brokers) = routed(setup, echo);
        bed.setup = setup;
        let daemon = bed.start();

        let each = clients();
        let open = |(_, connect): &(_, Connect)| bed.introduce(Shape::default(), connect);
        let mut open: Vec<Client> = each.iter().map(open).collect();

        bed.until_spliced(open.len());
        harness::talk::say(&mut open, 0);
        for route in ["user", "prefix", "glob", "regex", "old", "default"] {
            let wanted = each.iter().filter(|(wanted, _)| *wanted == route).count();
            assert_eq!(opened(&daemon, route), wanted as u64, "{route}");
        }
    }
}
