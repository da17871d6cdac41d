//! What is asked of brokers, real ones where there are.

use std::fs;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use harness::bpftool::Pins;
use harness::broker::{self, Broker};
use harness::client::Client;
use harness::echo::Echo;
use harness::mosquitto::Mosquitto;
use harness::need;
use harness::wait;
use harness::wire::{self, Connect, Version};
use lb_common::backend::State;
use tempfile::TempDir;

use super::checked;

const USER: &str = "sluice";
const PASSWORD: &str = "a-password-nobody-may-see";

/// A file with the password, as an operator writes it.
pub(super) fn password_file(directory: &TempDir, password: &str) -> String {
    let path = directory.path().join("password");
    fs::write(&path, format!("{password}\n")).expect("there is room");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("it is ours");
    path.display().to_string()
}

#[test]
fn a_broker_that_is_killed_is_down_until_it_is_back() {
    for check in ["tcp", "mqtt"] {
        let mut broker = need!(Mosquitto::start("killed"));
        let other = need!(Mosquitto::start("other"));
        let daemon = checked(check)
            .backend("killed", broker.address)
            .backend("other", other.address)
            .start();
        daemon.until_backend_is("killed", "up");

        broker.kill();
        daemon.until_backend_is("killed", "down");
        let failed = daemon.backend_sum("failed");
        for n in 0..4 {
            let connect = Connect::new(Version::V5, &format!("{check}-{n}"));
            Client::open(daemon.address(), &connect);
        }
        // Nobody had to find out.
        assert_eq!(daemon.backend_sum("failed"), failed);
        assert_eq!(daemon.backend("other")["state"], "up");

        broker.restart();
        daemon.until_backend_is("killed", "up");
        assert!(daemon.backend("killed")["trouble"].is_null());
        let log = daemon.log();
        assert_eq!(log.matches("backend is down").count(), 1, "{log}");
        assert_eq!(log.matches("backend is up").count(), 1, "{log}");
    }
}

#[test]
fn a_check_of_every_version_passes_at_a_real_broker() {
    let broker = need!(Mosquitto::start("polyglot"));
    for version in ["3.1", "3.1.1", "5.0"] {
        let closed = broker::refusing();
        let daemon = checked("mqtt")
            .health(&format!("version = {version:?}"))
            .backend("polyglot", broker.address)
            .backend("nobody", closed)
            .start();

        // As it is checked at the same time, the first has been as well.
        daemon.until_backend_is("nobody", "down");
        assert_eq!(daemon.backend("polyglot")["state"], "up");
        assert!(daemon.backend("polyglot")["trouble"].is_null());
    }
}

#[test]
fn a_check_with_a_user_name_passes_only_with_its_password() {
    let broker = need!(Mosquitto::start_locked("locked", USER, PASSWORD));
    let directory = TempDir::new().expect("there is room");
    let file = password_file(&directory, "wrong");
    let daemon = checked("mqtt")
        .daemon(r#"log = "trace""#)
        .health(&format!("user_name = {USER:?}"))
        .health(&format!("password_file = {file:?}"))
        .backend("locked", broker.address)
        .start();

    daemon.until_backend_is("locked", "down");
    let trouble = daemon.backend("locked")["trouble"].to_string();
    assert!(
        trouble.contains("refused the check with code 0x05"),
        "{trouble}"
    );
    // The file is read for each check.
    password_file(&directory, PASSWORD);
    daemon.until_backend_is("locked", "up");

    let told = [daemon.log(), daemon.status().to_string()].concat();
    assert!(!told.contains(PASSWORD));
}

#[test]
fn a_broker_that_lets_nobody_in_lives_all_the_same() {
    let broker = need!(Mosquitto::start_locked("locked", USER, PASSWORD));
    let daemon = checked("mqtt")
        .backend("locked", broker.address)
        .backend("nobody", broker::refusing())
        .start();

    daemon.until_backend_is("nobody", "down");
    assert_eq!(daemon.backend("locked")["state"], "up");
}

#[test]
fn a_check_without_its_password_says_so_and_judges_nobody() {
    let broker = need!(Mosquitto::start("open"));
    let daemon = checked("mqtt")
        .health(r#"user_name = "sluice""#)
        .health(r#"password_file = "/nonexistent/sluice""#)
        .backend("open", broker.address)
        .start();

    wait::until("the trouble is told", || {
        let trouble = daemon.backend("open")["trouble"].to_string();
        trouble.contains("/nonexistent/sluice")
    });
    assert_eq!(daemon.backend("open")["state"], "up");
    let log = daemon.log();
    assert_eq!(log.matches("/nonexistent/sluice").count(), 1, "{log}");
}

/// A broker that gives every CONNECT the code of the moment; 0xff is none.
fn moody(code: &Arc<AtomicU8>) -> Broker {
    let code = Arc::clone(code);
    Broker::start(move |mut stream| {
        let Ok(connect) = wire::read_packet(&mut stream) else {
            return;
        };
        let code = code.load(Ordering::SeqCst);
        if code != 0xff {
            let connack = wire::connack(wire::level(&connect), code, &[]);
            stream.write_all(&connack).ok();
        }
        // The goodbye, or the end.
        wire::read_packet(&mut stream).ok();
    })
}

#[test]
fn a_broker_that_sends_clients_away_or_is_silent_is_down() {
    let code = Arc::new(AtomicU8::new(0));
    let broker = moody(&code);
    let daemon = checked("mqtt")
        .health(r#"version = "5.0""#)
        .health(r#"timeout = "100ms""#)
        .backend("moody", broker.address())
        .start();

    for (mood, trouble) in [
        (0x9c, "refused the check: use_another"),
        (0xff, "no answer in time"),
        (0x88, "refused the check: unavailable"),
    ] {
        code.store(mood, Ordering::SeqCst);
        daemon.until_backend_is("moody", "down");
        assert_eq!(daemon.backend("moody")["trouble"], trouble);
        // A check says that nobody serves: clients need not wait to hear it.
        let mut client = Client::dial(daemon.address());
        client.send(&Connect::new(Version::V5, "late").bytes());
        assert_eq!(client.rest(), wire::connack(5, 0x88, &[]));
        code.store(0, Ordering::SeqCst);
        daemon.until_backend_is("moody", "up");
    }
    assert_eq!(daemon.refused("no_backend"), 3);
    assert_eq!(daemon.backend_sum("failed"), 0);
}

#[test]
fn a_broker_that_falters_is_not_down() {
    let turn = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&turn);
    let broker = Broker::start(move |mut stream| {
        let Ok(connect) = wire::read_packet(&mut stream) else {
            return;
        };
        // Two of three fail, which is one less than it takes.
        let is_well = count.fetch_add(1, Ordering::SeqCst).is_multiple_of(3);
        let code = if is_well { 0 } else { 3 };
        stream
            .write_all(&wire::connack(wire::level(&connect), code, &[]))
            .ok();
        wire::read_packet(&mut stream).ok();
    });
    let daemon = checked("mqtt")
        .backend("faltering", broker.address())
        .start();

    wait::until("it has faltered often enough", || {
        turn.load(Ordering::SeqCst) > 30
    });

    assert_eq!(daemon.backend("faltering")["state"], "up");
    assert!(daemon.backend("faltering")["state_since"].is_null());
    let log = daemon.log();
    assert!(!log.contains("backend is"), "{log}");
}

#[test]
fn a_check_leaves_with_a_goodbye() {
    let goodbyes = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&goodbyes);
    let broker = Broker::start(move |mut stream| {
        let connect = broker::accept(&mut stream);
        let text = String::from_utf8_lossy(&connect).into_owned();
        assert!(text.contains("sluice-"), "{text}");
        let goodbye = wire::read_packet(&mut stream).expect("a goodbye comes");
        assert_eq!(goodbye, [wire::DISCONNECT, 0]);
        wire::read_packet(&mut stream).expect_err("nothing follows it");
        count.fetch_add(1, Ordering::SeqCst);
    });
    let _daemon = checked("mqtt").backend("polite", broker.address()).start();

    wait::until("checks have said goodbye", || {
        goodbyes.load(Ordering::SeqCst) >= 3
    });
}

#[test]
fn the_state_of_a_broker_is_in_the_kernel_for_everyone_to_see() {
    let pins = need!(Pins::new());
    let echo = Echo::start_at((Ipv4Addr::LOCALHOST, 0).into());
    let address = echo.address;
    let setup = checked("tcp").backend("seen", address).with_kernel(pins);
    let daemon = setup.start();
    let state = || setup.pins().backend("seen").value["state"].clone();
    assert_eq!(state(), State::Up as u32);

    drop(echo);
    wait::until("it is down in the map", || state() == State::Down as u32);
    let _echo = Echo::start_at(address);
    wait::until("it is up in the map", || state() == State::Up as u32);
    assert_eq!(daemon.backend("seen")["state"], "up");
}
