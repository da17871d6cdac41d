//! What stays pinned in the kernel when a daemon ends, and what the next one makes of it.

#![cfg(test)]

use std::fs;

use harness::bpftool::{Pins, bpftool};
use harness::client::Client;
use harness::daemon::Daemon;
use harness::echo::Echo;
use harness::setup::Setup;
use harness::wire::{Connect, Version};
use harness::{namespace, need, wait};
use lb_common::LAYOUT;
use serde_json::Value;

const ALL: [&str; 14] = [
    "links/lo-egress",
    "links/lo-ingress",
    "maps/ABOUT",
    "maps/BACKENDS",
    "maps/CLIENTS",
    "maps/EVENTS",
    "maps/FLOWS",
    "maps/HANDSHAKES",
    "maps/LEAVING",
    "maps/LISTENERS",
    "maps/REASONS",
    "maps/STICKY",
    "progs/sluice_egress",
    "progs/sluice_ingress",
];

/// A network of its own with a broker, and a daemon that is yet to be started.
fn ground() -> Result<(Echo, Setup), String> {
    namespace::enter_new()?;
    let echo = Echo::start();
    let setup = Setup::new()
        .backend("echo", echo.address)
        .with_kernel(Pins::new()?)
        .listener(r#"datapath = "copy""#);
    Ok((echo, setup))
}

fn open(daemon: &Daemon, id: &str) -> Client {
    Client::open(daemon.address(), &Connect::new(Version::V5, id))
}

/// What bpftool tells of a pin.
fn shown(kind: &str, setup: &Setup, pin: &str) -> Value {
    let path = setup.pins().path().join(pin);
    bpftool(&["-j", kind, "show", "pinned", &path.to_string_lossy()])
}

/// The id of the program that is pinned, and attached by the pinned link.
fn attached_program(setup: &Setup) -> Value {
    let id = shown("prog", setup, "progs/sluice_ingress")["id"].clone();
    assert_eq!(shown("link", setup, "links/lo-ingress")["prog_id"], id);
    id
}

/// The kernel frees a program when it is neither pinned nor attached nor open.
fn until_freed(program: &Value) {
    wait::until("the kernel has freed the program", || {
        let loaded = bpftool(&["-j", "prog", "show"]);
        let mut loaded = loaded.as_array().expect("bpftool writes a list").iter();
        loaded.all(|other| other["id"] != *program)
    });
}

#[test]
fn a_daemon_that_ends_leaves_its_pins_and_no_clients() {
    let (_echo, setup) = need!(ground());
    let mut daemon = setup.start();
    let _client = open(&daemon, "there");
    assert_eq!(setup.pins().list(), ALL);

    assert!(daemon.terminate().success());

    assert_eq!(setup.pins().list(), ALL);
    assert_eq!(setup.pins().dump("CLIENTS"), []);
    assert_eq!(setup.pins().backend("echo").value["connections"], 0);
    // It counts on without a daemon.
    let before = setup.pins().syns();
    std::net::TcpStream::connect(daemon.address()).expect_err("nobody listens");
    assert_eq!(setup.pins().syns(), before + 1);
}

#[test]
fn a_daemon_takes_over_from_one_that_was_killed() {
    let (_echo, setup) = need!(ground());
    let mut first = setup.start();
    let clients = [open(&first, "one"), open(&first, "two")];
    let program = attached_program(&setup);
    let link = shown("link", &setup, "links/lo-ingress")["id"].clone();
    first.kill();
    drop(clients);
    assert_eq!(
        setup.pins().dump("CLIENTS").len(),
        2,
        "nobody has cleaned up yet"
    );

    let second = setup.start();

    assert_eq!(setup.pins().list(), ALL);
    assert_eq!(setup.pins().dump("CLIENTS"), []);
    assert_eq!(setup.pins().backend("echo").value["connections"], 0);
    assert_eq!(setup.pins().syns(), 2, "the count goes on");
    assert_ne!(attached_program(&setup), program);
    assert_eq!(
        shown("link", &setup, "links/lo-ingress")["id"],
        link,
        "no packet has gone unseen"
    );
    until_freed(&program);
    let _client = open(&second, "three");
    assert_eq!(setup.pins().syns(), 3);
}

#[test]
fn a_backend_keeps_its_number_over_restarts() {
    let (echo, setup) = need!(ground());
    let one_more = setup.clone().backend("other", echo.address);
    one_more.start().terminate();
    let numbers = ["echo", "other"].map(|name| setup.pins().backend(name).key);
    assert_ne!(numbers[0], numbers[1]);

    setup.start().terminate();
    assert_eq!(setup.pins().backend("echo").key, numbers[0]);
    assert_eq!(
        setup.pins().dump("BACKENDS").len(),
        1,
        "the other is forgotten"
    );

    one_more.start().terminate();
    assert_eq!(
        ["echo", "other"].map(|name| setup.pins().backend(name).key),
        numbers
    );
}

#[test]
fn detach_removes_everything() {
    let (_echo, setup) = need!(ground());
    setup.start().terminate();
    let program = attached_program(&setup);

    let detached = setup.sluice("detach");

    assert!(detached.status.success(), "{detached:?}");
    assert!(!setup.pins().path().exists());
    until_freed(&program);
    assert!(
        setup.sluice("detach").status.success(),
        "there is nothing left to do"
    );
}

#[test]
fn detach_is_refused_while_a_daemon_runs() {
    let (_echo, setup) = need!(ground());
    let daemon = setup.start();

    let detached = setup.sluice("detach");

    let complaint = String::from_utf8_lossy(&detached.stderr);
    assert!(!detached.status.success());
    assert!(
        complaint.contains("a balancer is running on these pins; end it first"),
        "{complaint}"
    );
    assert_eq!(setup.pins().list(), ALL);
    open(&daemon, "served");
}

#[test]
fn a_daemon_that_is_to_detach_on_exit_leaves_nothing() {
    let (_echo, setup) = need!(ground());
    let setup = setup.argument("--detach-on-exit");
    let mut daemon = setup.start();
    let _client = open(&daemon, "there");
    assert_eq!(setup.pins().list(), ALL);
    let program = attached_program(&setup);

    assert!(daemon.terminate().success());

    assert!(!setup.pins().path().exists());
    until_freed(&program);
}

#[test]
fn pins_of_another_layout_are_refused() {
    let (_echo, setup) = need!(ground());
    setup.start().terminate();
    let about = setup.pins().map("ABOUT");
    let mut command = vec!["map", "update", "pinned"];
    let path = about.to_string_lossy();
    command.extend([path.as_ref(), "key", "0", "0", "0", "0", "value", "77"]);
    command.extend(["0"; 47]);
    bpftool(&command);

    let complaint = setup.refused();

    assert!(
        complaint.contains(&format!(
            "are of layout 77, this version has layout {LAYOUT}"
        )),
        "{complaint}"
    );
    assert!(complaint.contains("`sluice detach`"), "{complaint}");
    assert_eq!(
        setup.pins().dump("ABOUT")[0].value["layout"],
        77,
        "they are left as they were"
    );
    assert!(setup.sluice("detach").status.success());
    setup.start();
}

#[test]
fn the_pins_say_whose_they_are() {
    let (_echo, setup) = need!(ground());
    let daemon = setup.start();

    let about = setup.pins().dump("ABOUT").remove(0).value;

    assert_eq!(about["layout"], LAYOUT);
    assert_eq!(about["pid"], daemon.process.id());
    assert_eq!(about["since"], daemon.status()["since"]);
    assert_eq!(about["version"], daemon.status()["version"]);
}

#[test]
fn the_kernel_half_may_be_switched_off() {
    let (_echo, setup) = need!(ground());
    let setup = setup.kernel(r#"mode = "off""#);
    let daemon = setup.start();

    open(&daemon, "served");

    assert!(!setup.pins().path().exists());
    assert_eq!(daemon.status()["kernel"]["loaded"], false);
}

#[test]
fn what_is_not_on_a_bpf_file_system_is_refused_or_done_without() {
    let (_echo, setup) = need!(ground());
    let elsewhere = tempfile::TempDir::new().expect("there is room");
    let pins = format!("pins = {:?}", elsewhere.path().join("pins"));

    let complaint = setup.clone().kernel(&pins).refused();
    let daemon = setup.kernel(&pins).kernel(r#"mode = "auto""#).start();

    assert!(
        complaint.contains("is not on a bpf file system"),
        "{complaint}"
    );
    let downgrade = daemon.status()["downgrades"][0].to_string();
    assert!(
        downgrade.contains("is not on a bpf file system"),
        "{downgrade}"
    );
    open(&daemon, "served");
    assert_eq!(
        fs::read_dir(elsewhere.path()).expect("it is there").count(),
        0
    );
}

#[test]
fn an_interface_that_is_not_there_is_named() {
    let (_echo, setup) = need!(ground());

    let complaint = setup.kernel(r#"interfaces = ["nowhere0"]"#).refused();

    assert!(
        complaint.contains("could not attach to interface `nowhere0`"),
        "{complaint}"
    );
}

#[test]
fn the_kernel_half_logs_each_syn_at_debug_level() {
    let (_echo, setup) = need!(ground());
    let daemon = setup.daemon(r#"log = "debug""#).start();

    let client = open(&daemon, "noticed");

    let port = client.0.local_addr().expect("it is connected").port();
    let line = format!(
        "SYN from [::ffff:127.0.0.1]:{port} for port {}",
        daemon.address().port()
    );
    wait::until("the SYN is logged", || daemon.log().contains(&line));
}
