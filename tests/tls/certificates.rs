//! Which certificate a client sees, and what becomes of it at a reload; certificates of clients.

use std::fs;

use harness::setup::Setup;
use harness::tls::{Authority, Believer, VERSIONS};
use harness::wait;

use super::{connect, localhost, setup};

/// `EX_CONFIG` of sysexits.h.
const AT_FAULT: i32 = 78;

#[test]
fn a_client_sees_the_certificate_for_the_name_it_asks_for() {
    let authority = Authority::new("Sluice test");
    let first = authority.issue("first", &["mqtt.example.org", "127.0.0.1"]);
    let more = ["*.a.example.org", "b.example.org"].map(|name| authority.issue(name, &[name]));
    let entries = more.each_ref().map(|issued| {
        let lines = issued.lines().replace('\n', ", ");
        format!("{{ {lines} }}")
    });
    let (setup, _echo) = setup(&first, &format!("more = [{}]", entries.join(", ")));
    let daemon = setup.start();

    for tls in VERSIONS {
        for (name, issued) in [
            ("mqtt.example.org", &first),
            ("x.a.example.org", &more[0]),
            ("B.Example.org", &more[1]),
            // Without a name.
            ("127.0.0.1", &first),
        ] {
            let dialled = authority.believer(tls).dial(daemon.address(), name);
            let mut client = dialled.unwrap_or_else(|error| panic!("{name}: {error}"));
            let shown = fs::read_to_string(&issued.certificate).expect("it is there");
            assert!(holds(&shown, &client.shown()), "{name}");
            client.introduce(&connect(name));
        }
        // There is none for this name: the first is shown, and the client does not want it.
        let refused = authority
            .believer(tls)
            .dial(daemon.address(), "c.example.org");
        refused.expect_err("the name is another");
    }
}

/// Whether a PEM file begins with this certificate.
fn holds(pem: &str, certificate: &rustls::pki_types::CertificateDer<'_>) -> bool {
    use rustls::pki_types::pem::PemObject as _;
    let own = rustls::pki_types::CertificateDer::from_pem_slice(pem.as_bytes());
    own.expect("it is PEM") == *certificate
}

#[test]
fn a_reload_renews_certificates_and_touches_no_connection() {
    let (authority, issued) = localhost();
    let (setup, _echo) = setup(&issued, "");
    let daemon = setup.start();
    let believer = authority.believer(VERSIONS[1]);
    let dial = |believer: &Believer| {
        let dialled = believer.dial(daemon.address(), "localhost");
        dialled.expect("hands are shaken")
    };
    let mut old = dial(&believer);
    old.introduce(&connect("old"));

    authority.issue("localhost", &["localhost"]);
    let told = daemon.reload();
    assert!(
        told.contains("listeners.mqtt.tls shows another certificate"),
        "{told}"
    );
    let mut new = dial(&believer);
    new.introduce(&connect("new"));
    assert!(new.shown() != old.shown());
    assert!(
        !daemon.reload().contains("certificate"),
        "nothing has changed"
    );

    // One that cannot be used changes nothing.
    let other = authority.issue("other", &["localhost"]);
    fs::copy(&other.key, &issued.key).expect("there is room");
    let refused = daemon.ask_reload();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success());
    assert!(
        said.contains("is not the key of the first certificate"),
        "{said}"
    );
    assert!(said.contains("listener `mqtt`"), "{said}");
    let mut third = dial(&believer);
    third.introduce(&connect("third"));
    assert!(third.shown() == new.shown());

    for client in [&mut old, &mut new, &mut third] {
        client.send(b"still here");
        assert_eq!(client.bytes(10), b"still here");
    }
}

#[test]
fn a_certificate_that_is_renewed_is_noticed_where_files_are_watched() {
    let (authority, issued) = localhost();
    let (setup, _echo) = setup(&issued, "");
    let setup = setup.daemon("watch_config = true");
    let daemon = setup.start();
    let believer = authority.believer(VERSIONS[1]);
    let dial = || {
        let dialled = believer.dial(daemon.address(), "localhost");
        dialled.expect("hands are shaken")
    };
    let mut old = dial();
    old.introduce(&connect("old"));
    let reload = || daemon.status()["reload"].clone();
    assert!(reload().is_null());

    // A new file in the place of the old one, as certbot and editors do; first one that cannot be used.
    let other = authority.issue("other", &["localhost"]);
    fs::rename(&other.key, &issued.key).expect("it is there");
    wait::until("the mistake is seen", || {
        reload()["outcome"]["failed"].is_string()
    });
    assert!(dial().shown() == old.shown());
    fs::rename(&other.certificate, &issued.certificate).expect("it is there");
    wait::until("the other certificate is shown", || {
        dial().shown() != old.shown()
    });

    assert_eq!(reload()["cause"], "file");
    assert!(reload()["outcome"]["taken"].is_object());
    old.send(b"still here");
    assert_eq!(old.bytes(10), b"still here");
}

#[test]
fn a_certificate_that_has_expired_is_told() {
    const END_OF_2019: u64 = 1_577_836_800;
    let authority = Authority::new("Sluice test");
    let issued = authority.issue_until(2019, "localhost", &["localhost"]);
    let (setup, _echo) = setup(&issued, "");
    let daemon = setup.start();
    let told = || {
        let status = daemon.status();
        let listener = &status["listeners"][0];
        let downgrades = status["downgrades"].as_array().expect("a list");
        let about = |one: &&serde_json::Value| one.to_string().contains("certificate");
        let about = downgrades.iter().find(about).map(ToString::to_string);
        (listener["certificate_expires"].as_u64(), about)
    };

    let (expires, about) = told();
    assert_eq!(expires, Some(END_OF_2019));
    let about = about.expect("it is told");
    assert!(about.contains("listener `mqtt` has expired"), "{about}");
    assert!(daemon.log().contains("listener `mqtt` has expired"));

    authority.issue("localhost", &["localhost"]);
    daemon.reload();
    let (expires, about) = told();
    assert!(expires > Some(END_OF_2019));
    assert_eq!(about, None);
}

#[test]
fn a_reload_ends_and_begins_tls() {
    let (authority, issued) = localhost();
    let (with_tls, _echo) = setup(&issued, "");
    let daemon = with_tls.start();
    let table = format!("[listeners.tls]\n{}", issued.lines());
    let without = with_tls.config().replace(&table, "");
    let believer = authority.believer(VERSIONS[1]);
    let dialled = believer.dial(daemon.address(), "localhost");
    let mut old = dialled.expect("hands are shaken");
    old.introduce(&connect("old"));

    with_tls.write_text(&without);
    daemon.reload();
    let mut plain = harness::client::Client::open(daemon.address(), &connect("plain"));

    with_tls.write_config();
    daemon.reload();
    let dialled = believer.dial(daemon.address(), "localhost");
    let mut new = dialled.expect("hands are shaken");
    new.introduce(&connect("new"));
    plain.send(b"word");
    assert_eq!(plain.bytes(4), b"word");
    for client in [&mut old, &mut new] {
        client.send(b"word");
        assert_eq!(client.bytes(4), b"word");
    }
}

#[test]
fn only_clients_whose_certificate_is_signed_come_in() {
    let (authority, issued) = localhost();
    let clients = Authority::new("devices");
    let strangers = Authority::new("strangers");
    let ca = format!("client_ca = {:?}", clients.file());
    let (setup, _echo) = setup(&issued, &ca);
    let daemon = setup.start();
    let own = clients.issue("device", &["device"]);
    let strange = strangers.issue("stranger", &["stranger"]);

    for tls in VERSIONS {
        let believer = authority.believer(tls);
        let dialled = believer
            .clone()
            .showing(&own)
            .dial(daemon.address(), "localhost");
        let mut client = dialled.expect("hands are shaken");
        client.introduce(&connect("device"));

        let before = daemon.refused("tls");
        for refused in [believer.clone(), believer.showing(&strange)] {
            // With TLS 1.3 a client has shaken hands before it is refused.
            let ended = refused
                .dial(daemon.address(), "localhost")
                .and_then(|mut client| {
                    client.send(&connect("nobody").bytes());
                    client.rest()
                });
            let alert = ended.expect_err("it is turned away").to_string();
            assert!(alert.contains("received fatal alert"), "{alert}");
        }
        assert_eq!(daemon.refused("tls"), before + 2);
    }
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let (authority, issued) = localhost();
    let other = authority.issue("other", &["localhost"]);
    let empty = other.key.with_extension("empty");
    fs::write(&empty, "").expect("there is room");
    let files = |certificate, key| {
        Setup::new().listener(&format!(
            "tls = {{ certificate = {certificate:?}, key = {key:?} }}"
        ))
    };
    let missing = other.key.with_extension("missing");
    for (setup, named, why) in [
        (
            files(&issued.certificate, &other.key),
            &other.key,
            "is not the key of",
        ),
        (files(&empty, &issued.key), &empty, "has no certificate"),
        (
            files(&issued.certificate, &empty),
            &empty,
            "nothing of this kind",
        ),
        (
            files(&missing, &issued.key),
            &missing,
            "could not be read: No such file",
        ),
        (
            files(&issued.key, &issued.key),
            &issued.key,
            "has no certificate",
        ),
    ] {
        let setup = setup.backend("a", ([127, 0, 0, 1], 1).into());
        let checked = setup.sluice("check");
        assert_eq!(checked.status.code(), Some(AT_FAULT));
        let checked = String::from_utf8_lossy(&checked.stderr).into_owned();
        for said in [checked, setup.refused()] {
            let named = named.to_str().expect("it is text");
            assert!(said.contains("listener `mqtt`"), "{said}");
            assert!(said.contains(named) && said.contains(why), "{why}: {said}");
            assert!(!said.contains("PRIVATE KEY"), "{said}");
        }
    }
}
