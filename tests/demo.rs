//! What a newcomer does first: `cargo xtask run`, the three commands it prints, and Ctrl-C.

#![cfg(test)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use harness::binary;
use harness::bpftool::bpftool;
use harness::demo::Demo;
use harness::mounts::{self, BPF_FS};
use harness::process::{self, Process};
use harness::{namespace, need, ports, sockets, wait};
use tempfile::{NamedTempFile, TempDir};

/// `nobody` on most systems.
const NOBODY: u32 = 65534;

/// What the commands publish, and where.
const GREETING: &str = "hello through sluice";
const TOPIC: &str = "demo/greeting";

/// The demo keeps its files in one place of the checkout.
static ALONE: Mutex<()> = Mutex::new(());

/// A network and mounts of this thread's own, and every program of the demo.
fn ground() -> Result<(), String> {
    for program in ["mosquitto", "mosquitto_sub", "mosquitto_pub", "bpftool"] {
        process::installed(program)?;
    }
    if std::env::var("SLUICE_EBPF").is_ok_and(|wish| wish == "skip") {
        return Err("needs the kernel half, which was left out".to_owned());
    }
    mounts::enter_new()?;
    namespace::enter_new()
}

/// The printed command that subscribes, running.
struct Subscriber {
    process: Process,
    output: NamedTempFile,
}

impl Subscriber {
    fn start(demo: &Demo, version: &str) -> Self {
        let [subscribe, _, _] = demo.commands();
        let output = NamedTempFile::new().expect("there is room");
        let mut command = demo.typed(&format!("{subscribe}{version}"));
        command.stdout(output.reopen().expect("it was just made"));
        Self {
            process: Process::start(&mut command),
            output,
        }
    }

    fn has(&mut self, topic: &str) -> bool {
        assert!(self.process.ended().is_none(), "the subscriber ended");
        let lines = fs::read_to_string(self.output.path()).expect("it writes UTF-8");
        lines
            .lines()
            .any(|line| line == format!("{topic} {GREETING}"))
    }
}

/// Runs a command that ends by itself.
fn run(demo: &Demo, line: &str) {
    let output = demo.typed(line).output().expect("there is a shell");
    assert!(output.status.success(), "{line}: {output:?}");
}

/// Publishes from other clients, to a topic for each, until every broker has served one; which
/// broker served which client.
fn publish_through_every_broker(demo: &Demo, version: &str) -> BTreeMap<String, usize> {
    let [_, publish, _] = demo.commands();
    let mut landed = BTreeMap::new();
    while landed.values().collect::<BTreeSet<_>>().len() < 3 {
        let id = format!("device-{}", landed.len());
        assert!(landed.len() < 30, "they all land on the same: {landed:?}");
        let line = publish
            .replace("-i bob", &format!("-i {id}"))
            .replace(TOPIC, &format!("demo/{id}"));
        let before = demo.opened();
        run(demo, &format!("{line}{version}"));
        let after = demo.opened();
        let served: Vec<_> = (0..3).filter(|&n| after[n] != before[n]).collect();
        assert_eq!(served.len(), 1, "{before:?} {after:?}");
        landed.insert(id, served[0]);
    }
    landed
}

/// Does what the demo says, in both versions of MQTT; `look` is called while the subscriber is there.
fn try_it(demo: &Demo, look: impl Fn()) {
    let [_, publish, status] = demo.commands();
    run(demo, &status);
    // Without an option the clients speak 3.1.1.
    let landed = ["", " -V mqttv5"].map(|version| {
        let mut subscriber = Subscriber::start(demo, version);
        wait::until("the subscriber has what was published", || {
            run(demo, &format!("{publish}{version}"));
            subscriber.has(TOPIC)
        });
        look();
        let landed = publish_through_every_broker(demo, version);
        for id in landed.keys() {
            wait::until("a message from every broker arrives", || {
                subscriber.has(&format!("demo/{id}"))
            });
        }
        landed
    });
    assert_eq!(landed[0], landed[1], "a client's broker is always the same");
}

/// Presses Ctrl-C.
fn end(demo: &mut Demo, checkout: &Path) {
    let status = demo.interrupt();

    assert_eq!(status.code(), Some(0), "{}", demo.said());
    assert_eq!(namespace::processes(), []);
    assert!(sockets::listening().is_empty());
    let pinned = fs::read_dir(BPF_FS).expect("it is mounted").flatten();
    let pinned: Vec<_> = pinned.map(|entry| entry.path()).collect();
    assert!(!pinned.iter().any(|path| path.is_dir()), "{pinned:?}");
    assert!(!checkout.join("target/demo/control.sock").exists());
}

/// The kernel half is in use, and lists the subscriber by its name.
fn kernel_lists_alice(demo: &Demo) {
    let kernel = &demo.status()["kernel"];
    assert_eq!(kernel["loaded"], true, "{}", demo.said());
    let pins = Path::new(kernel["pins"].as_str().expect("it tells where"));
    assert!(pins.starts_with(BPF_FS), "{}", pins.display());
    let clients = pins.join("maps/CLIENTS");
    let dump = bpftool(&["-j", "map", "dump", "pinned", &clients.to_string_lossy()]);
    let mut clients = dump.as_array().expect("bpftool writes a list").iter();
    assert!(clients.any(|client| client["formatted"]["key"]["id"] == "alice"));
}

/// A copy of the checkout that belongs to `nobody`.
fn copy_for_nobody() -> TempDir {
    let copy = TempDir::with_prefix("sluice-checkout-").expect("there is room");
    let entries = fs::read_dir(binary::workspace()).expect("it is a directory");
    for entry in entries.flatten() {
        if entry.file_name() != "target" && entry.file_name() != ".git" {
            copy_all(&entry.path(), copy.path());
        }
    }
    // What takes long to build: the linker of the kernel half, and other people's crates.
    copy_all(
        &binary::workspace().join("target/tools/bin"),
        &copy.path().join("target/tools"),
    );
    copy_all(
        &binary::target().join("release"),
        &copy.path().join("target"),
    );
    let mut give = Command::new("chown");
    give.args(["-R", &NOBODY.to_string()]).arg(copy.path());
    assert!(give.status().is_ok_and(|status| status.success()));
    copy
}

/// Copies a file or directory, if there is one, into `directory`, with its times.
fn copy_all(source: &Path, directory: &Path) {
    if source.exists() {
        fs::create_dir_all(directory).expect("there is room");
        let mut copy = Command::new("cp");
        copy.args(["-a", "-t"]).arg(directory).arg(source);
        assert!(copy.status().is_ok_and(|status| status.success()));
    }
}

/// Crates come over the network, of which there is none where the demo is tested.
fn fetch_the_embedded_broker() {
    let mut fetch = Command::new("cargo");
    fetch
        .args(["fetch", "--quiet", "--locked", "--manifest-path"])
        .arg(binary::workspace().join("xtask/demo-broker/Cargo.toml"));
    assert!(fetch.status().is_ok_and(|status| status.success()));
}

#[test]
fn a_newcomer_has_the_kernel_path() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    need!(ground());
    let mut demo = Demo::start(binary::workspace(), None, &[]);

    try_it(&demo, || kernel_lists_alice(&demo));

    end(&mut demo, binary::workspace());
}

#[test]
fn the_embedded_broker_takes_the_place_of_mosquitto() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    fetch_the_embedded_broker();
    need!(ground());
    let port = ports::free().to_string();
    let arguments = ["--port", &port, "--demo-broker", "embedded"];
    let mut demo = Demo::start(binary::workspace(), None, &arguments);
    assert!(demo.commands()[0].contains(&format!("-p {port} ")));

    try_it(&demo, || kernel_lists_alice(&demo));

    end(&mut demo, binary::workspace());
}

// The last by name, to find the crates built by the others.
#[test]
fn without_privileges_the_demo_takes_the_copy_path() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    need!(ground());
    let checkout = copy_for_nobody();
    if let Some(home) = std::env::home_dir() {
        mounts::open_to_all(&home, &[".cargo", ".rustup"]);
    }
    let mut demo = Demo::start(checkout.path(), Some(NOBODY), &[]);
    assert_eq!(demo.status()["datapath"]["path"], "copy");

    try_it(&demo, || {
        assert_eq!(demo.status()["kernel"]["loaded"], false);
    });

    end(&mut demo, checkout.path());
    let remedies = demo.said().matches("CAP_BPF; run as root");
    assert_eq!(remedies.count(), 1, "{}", demo.said());
}
