//! A configuration that is put in force while the daemon runs, whole or not at all.

#![cfg(test)]

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};

use harness::bed::{Bed, Family};
use harness::client::Client;
use harness::daemon::Daemon;
use harness::echo::Echo;
use harness::setup::Setup;
use harness::talk::say;
use harness::wire::{Connect, Version};
use harness::{need, ports, sockets, wait};
use nix::sys::signal::Signal;
use serde_json::Value;

/// `EX_CONFIG` of sysexits.h.
const AT_FAULT: i32 = 78;

fn connect(id: &str) -> Connect {
    Connect::new(Version::V5, id)
}

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// A listener of its own, for the pool that every setup has.
fn listener(name: &str, address: SocketAddr) -> String {
    format!("\n[[listeners]]\nname = {name:?}\nbind = [\"{address}\"]\npool = \"brokers\"\n")
}

/// A backend in the list of `sluice status`.
fn backend(daemon: &Daemon, name: &str) -> Option<Value> {
    let status = daemon.status();
    let backends = status["backends"].as_array().expect("there is a list");
    let mut same = backends.iter().filter(|backend| backend["name"] == name);
    same.next().cloned()
}

#[test]
fn a_bad_file_changes_nothing_and_every_mistake_is_told() {
    let echo = Echo::start();
    let setup = Setup::new().backend("echo", echo.address);
    let daemon = setup.start();
    let before = daemon.status();
    let mut clients = vec![Client::open(daemon.address(), &connect("old"))];
    let taken = TcpListener::bind(local(0)).expect("there is a port");
    let elsewhere = taken.local_addr().expect("it is bound");
    let good = setup.config();
    let at_fault = [
        good.replace("threads = 2", "threads = -1\nlog = \"=\""),
        good.replace("[[pools]]", "[[pools"),
        good.replace("pool = \"brokers\"", "pool = \"nobody\""),
        String::new(),
    ];
    let impossible = [
        good.clone() + &listener("taken", elsewhere),
        good.replace(
            "name = \"echo\"",
            "name = \"echo\"\nsource_addresses = [\"192.0.2.77\"]",
        ),
    ];

    for text in &at_fault {
        setup.write_text(text);
        let told = daemon.ask_reload();
        assert_eq!(told.status.code(), Some(AT_FAULT), "{text}");
        let checked = setup_check(&setup);
        let told = String::from_utf8_lossy(&told.stderr).into_owned();
        assert!(told.starts_with(&checked), "{told}\nand not\n{checked}");
        assert!(told.contains("nothing has changed"));
        assert!(daemon.status()["reload"]["outcome"]["refused"].is_string());
    }
    for text in &impossible {
        setup.write_text(text);
        let told = daemon.ask_reload();
        assert_eq!(told.status.code(), Some(1), "{text}");
        let failed = &daemon.status()["reload"]["outcome"]["failed"];
        let failed = failed.as_str().expect("it says why").to_owned();
        let about = ["`taken`", "`192.0.2.77`"];
        assert!(about.iter().any(|name| failed.contains(name)), "{failed}");
    }

    let after = daemon.status();
    assert_eq!(after["listeners"].as_array().map(Vec::len), Some(1));
    for part in ["backends", "threads", "pid"] {
        assert_eq!(after[part], before_with_one(&before, part), "{part}");
    }
    clients.push(Client::open(daemon.address(), &connect("new")));
    say(&mut clients, 1);
}

/// What `sluice check` says of the file that is there.
fn setup_check(setup: &Setup) -> String {
    let file = setup.control().with_file_name("sluice.toml");
    let checked = std::process::Command::new(harness::binary::sluice())
        .args(["check", "-c"])
        .arg(file)
        .output()
        .expect("sluice can be run");
    String::from_utf8_lossy(&checked.stderr).into_owned()
}

/// A part of a status from before the only client came.
fn before_with_one(before: &Value, part: &str) -> Value {
    let mut part = before[part].clone();
    if part.is_array() {
        part[0]["connections"] = 1.into();
        part[0]["opened"] = 1.into();
    }
    part
}

#[test]
fn backends_come_go_move_and_change_their_weight() {
    let echoes = [Echo::start(), Echo::start(), Echo::start()];
    let [first, second, third] = echoes.each_ref().map(|echo| echo.address);
    let empty = Setup::new().pool("balance = \"round_robin\"");
    let setup = empty.clone().backend("first", first);
    let daemon = setup.start();
    let mut old: Vec<Client> = (0..6)
        .map(|n| Client::open(daemon.address(), &connect(&format!("old-{n}"))))
        .collect();

    empty
        .clone()
        .backend("first", first)
        .backend("second", second)
        .write_config();
    assert!(
        daemon
            .reload()
            .contains("pools.brokers.backends.second is new")
    );
    let mut new: Vec<Client> = (0..6)
        .map(|n| Client::open(daemon.address(), &connect(&format!("new-{n}"))))
        .collect();
    let connections = |name: &str| backend(&daemon, name).map(|one| one["connections"].clone());
    assert_eq!(connections("first"), Some(9.into()));
    assert_eq!(connections("second"), Some(3.into()));

    // One goes, and its clients stay.
    empty.clone().backend("second", second).write_config();
    assert!(
        daemon
            .reload()
            .contains("pools.brokers.backends.first is gone")
    );
    new.push(Client::open(daemon.address(), &connect("later")));
    let first_now = backend(&daemon, "first").expect("it has connections");
    assert_eq!(first_now["connections"], 9);
    assert_eq!(first_now["pool"], Value::Null);
    assert_eq!(connections("second"), Some(4.into()));
    say(&mut old, 1);
    say(&mut new, 1);

    // It moves, and gets more.
    let moved = empty.backend("second", third);
    let moved = moved.more("weight = 7\n");
    moved.write_config();
    let told = daemon.reload();
    assert!(
        told.contains(&format!("address is \"{third}\", was \"{second}\"")),
        "{told}"
    );
    new.push(Client::open(daemon.address(), &connect("last")));
    let second_now = backend(&daemon, "second").expect("it is configured");
    assert_eq!(second_now["address"], third.to_string());
    assert_eq!(second_now["weight"], 7);
    assert_eq!(second_now["connections"], 5);
    say(&mut old, 2);
    say(&mut new, 2);

    drop(old);
    drop(new);
    wait::until("what is gone has ended", || daemon.connections() == 0);
    assert!(backend(&daemon, "first").is_none());
}

#[test]
fn listeners_come_and_go_and_keep_whom_they_have() {
    let echo = Echo::start();
    let setup = Setup::new().backend("echo", echo.address);
    let daemon = setup.start();
    let baseline = daemon.process.descriptors();
    let extra = local(ports::free());
    let more = setup.clone().more(&listener("extra", extra));

    more.write_config();
    assert!(daemon.reload().contains("listeners.extra is new"));
    let mut clients: Vec<Client> = (0..20)
        .map(|n| Client::open(extra, &connect(&format!("extra-{n}"))))
        .collect();
    // They have connected, and say who they are when the listener is gone.
    let mut late: Vec<Client> = (0..20).map(|_| Client::dial(extra)).collect();
    setup.write_config();
    assert!(daemon.reload().contains("listeners.extra is gone"));

    for (n, client) in late.iter_mut().enumerate() {
        client.introduce(&connect(&format!("late-{n}")));
    }
    clients.append(&mut late);
    say(&mut clients, 1);
    wait::until("nobody listens there", || {
        !sockets::listening().contains(&extra.port())
    });
    assert!(TcpStream::connect(extra).is_err());
    say(&mut clients, 2);
    drop(clients);
    wait::until("nothing of it is left", || {
        daemon.process.descriptors() <= baseline
    });
}

#[test]
fn an_address_may_move_to_another_listener_and_overlap() {
    let echo = Echo::start();
    let setup = Setup::new().backend("echo", echo.address);
    let daemon = setup.start();
    let address = daemon.address();
    let renamed = setup
        .config()
        .replace("name = \"mqtt\"", "name = \"other\"");
    let wide = format!("0.0.0.0:{}", address.port());
    let widened = renamed.replace(&address.to_string(), &wide);
    let mut clients = vec![Client::open(address, &connect("a"))];

    setup.write_text(&renamed);
    daemon.reload();
    clients.push(Client::open(address, &connect("b")));
    setup.write_text(&widened);
    daemon.reload();
    // Whoever comes while the narrower socket closes is let in by the wider one, a moment later.
    clients.push(Client::open(address, &connect("c")));
    say(&mut clients, 1);

    let listeners = daemon.status()["listeners"].clone();
    assert_eq!(listeners[0]["name"], "other");
    assert_eq!(listeners.as_array().map(Vec::len), Some(1));
}

#[test]
fn a_signal_and_a_change_of_the_file_reload_as_well() {
    let echo = Echo::start();
    let setup = Setup::new()
        .backend("echo", echo.address)
        .daemon("watch_config = false");
    let daemon = setup.start();
    let cause = || daemon.status()["reload"]["cause"].clone();
    let write = |text: &str| {
        let old = "watch_config = false";
        setup.write_text(&setup.config().replace(old, text));
    };

    write("watch_config = true");
    daemon.process.signal(Signal::SIGHUP);
    wait::until("the signal has its effect", || cause() == "signal");
    write("watch_config = true\nlog = \"debug\"");
    wait::until("the change has its effect", || cause() == "file");
    assert!(daemon.status()["reload"]["outcome"]["taken"].is_object());
    drop(Client::open(daemon.address(), &connect("heard")));
    wait::until("the log has more to say", || daemon.log().contains("heard"));
    write("watch_config = 5");
    wait::until("the mistake is seen", || {
        daemon.status()["reload"]["outcome"]["refused"].is_string()
    });

    let file = setup.control().with_file_name("sluice.toml");
    fs::remove_file(file).expect("it is there");
    let told = daemon.ask_reload();
    assert_eq!(told.status.code(), Some(1));
    drop(Client::open(daemon.address(), &connect("still")));
}

#[test]
fn what_needs_a_restart_is_named_and_the_rest_is_taken() {
    let echo = Echo::start();
    let setup = Setup::new().backend("echo", echo.address);
    let daemon = setup.start();
    let text = setup.config().replace("threads = 2", "threads = 1");
    setup.write_text(&text.replace("[limits]", "[limits]\nconnect_timeout = \"7s\""));

    let told = daemon.reload();

    assert!(
        told.contains("daemon.threads is 1, was 2, which needs a restart"),
        "{told}"
    );
    assert!(
        told.contains("limits.connect_timeout is \"7s\", was the default"),
        "{told}"
    );
    assert_eq!(daemon.status()["threads"], 2);
}

#[test]
fn a_backend_that_is_gone_is_counted_after_a_restart_too() {
    let bed = need!(Bed::new(Family::V4));
    let broker = bed.family.broker();
    let _echo = bed.topology.broker.run(|| Echo::start_at(broker));
    let mut daemon = bed.start();
    let mut clients: Vec<Client> = (0..5).map(|n| bed.open(&format!("c-{n}"))).collect();
    bed.until_spliced(5);
    let other = bed.setup.clone().without_backends();
    let other = other.backend("other", broker);
    let listed = |name: &str| {
        let mut all = bed.setup.pins().dump("BACKENDS").into_iter();
        all.find(|entry| entry.value["name"] == name)
    };

    other.write_config();
    daemon.reload();
    assert_eq!(
        backend(&daemon, "broker").expect("it lives")["connections"],
        5
    );
    assert_eq!(listed("broker").expect("it lives").value["state"], 0);
    daemon.kill();
    let daemon = bed.topology.balancer.run(|| other.start());
    let gone = backend(&daemon, "broker").expect("it lives");
    assert_eq!(gone["connections"], 5);
    assert_eq!(gone["pool"], Value::Null);
    clients.push(bed.open("new"));
    bed.until_spliced(6);
    say(&mut clients, 1);

    clients.truncate(5);
    drop(clients);
    wait::until("it is forgotten with its last client", || {
        listed("broker").is_none() && backend(&daemon, "broker").is_none()
    });
}
