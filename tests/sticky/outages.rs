//! Clients whose broker is away.

use std::thread;
use std::time::Duration;

use harness::client::Client;
use harness::echo::Echo;
use harness::setup::Setup;
use harness::wire::{self, Connect, Version};

use super::{counted, homes, persistent, sticky, two};

#[test]
fn a_client_waits_for_its_broker_through_a_short_outage() {
    let [first, second] = two();
    let address = first.address;
    let brokers = [first, second];
    let daemon = sticky(Setup::new(), &brokers, r#"hold = "1h""#).start();
    assert_eq!(homes(&daemon, &[persistent("a")]), [0]);
    let [first, _second] = brokers;
    drop(first);

    for _ in 0..3 {
        let mut client = Client::dial(daemon.address());
        client.send(&persistent("a").bytes());
        assert_eq!(client.rest(), wire::connack(4, 3, &[]));
    }
    // Clients that want no session of it go elsewhere.
    assert_eq!(homes(&daemon, &[Connect::new(Version::V5, "a")]), [1]);
    assert_eq!(homes(&daemon, &[persistent("b")]), [1]);
    assert_eq!((daemon.refused("held"), counted(&daemon, "held")), (3, 3));

    let _back = Echo::start_at(address);
    assert_eq!(homes(&daemon, &[persistent("a")]), [0]);
}

#[test]
fn a_client_waits_for_its_broker_where_the_others_are_full() {
    let [first, second] = two();
    let daemon = Setup::new()
        .pool(r#"balance = "first""#)
        .backend("home", first.address)
        .backend("full", second.address)
        .of_backend("max_connections = 1")
        .with("[pools.sticky]")
        .start();
    assert_eq!(homes(&daemon, &[persistent("a")]), [0]);
    drop(first);
    let _guest = Client::open(daemon.address(), &Connect::new(Version::V5, "guest"));

    let mut client = Client::dial(daemon.address());
    client.send(&persistent("a").bytes());

    assert_eq!(client.rest(), wire::connack(4, 3, &[]));
    let refused = ["held", "backends_full"].map(|reason| daemon.refused(reason));
    assert_eq!(refused, [1, 0]);
}

#[test]
fn a_client_gets_another_broker_after_a_long_outage() {
    const HOLD: Duration = Duration::from_millis(500);
    let [first, second] = two();
    let address = first.address;
    let brokers = [first, second];
    let daemon = sticky(Setup::new(), &brokers, r#"hold = "500ms""#).start();
    assert_eq!(homes(&daemon, &[persistent("a")]), [0]);
    let [first, _second] = brokers;
    drop(first);

    let mut client = Client::dial(daemon.address());
    client.send(&persistent("a").bytes());
    assert_eq!(client.rest(), wire::connack(4, 3, &[]));
    thread::sleep(HOLD);
    assert_eq!(homes(&daemon, &[persistent("a")]), [1]);

    let _back = Echo::start_at(address);
    assert_eq!(homes(&daemon, &[persistent("a"), persistent("a")]), [1, 1]);
}
