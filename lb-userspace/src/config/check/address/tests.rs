//! Addresses that are right, and what is proposed for those that are not.

use proptest::prelude::*;

use super::*;

#[test]
fn listens_on_both_families() {
    assert_eq!(listen("0.0.0.0:1883"), Ok("0.0.0.0:1883".parse().unwrap()));
    assert_eq!(listen("[::]:1883"), Ok("[::]:1883".parse().unwrap()));
}

#[test]
fn connects_to_addresses_and_names() {
    for text in [
        "10.0.0.11:1883",
        "[2001:db8::1]:1883",
        "broker-1.example:8883",
        "a_b:1",
    ] {
        assert_eq!(backend(text).unwrap().to_string(), text);
    }
}

#[test]
fn says_what_was_meant_by_a_listener() {
    for (text, problem, meant) in MEANT {
        let fault = listen(text).unwrap_err();

        assert_eq!(fault.problem, problem, "{text}");
        assert!(
            fault.remedy.contains(&format!("{meant:?}")),
            "{text}: {}",
            fault.remedy
        );
        assert!(listen(meant).is_ok(), "{meant}");
    }
}

#[test]
fn says_what_is_wrong_with_a_backend() {
    let cases = [
        (
            "0.0.0.0:1883",
            "is an address to listen on, not one to connect to",
        ),
        ("10.0.0.300:1883", "is not an IP address"),
        ("10.0.0:1883", "is not an IP address"),
        ("-a:1883", "has no valid DNS name"),
        ("a..b:1883", "has no valid DNS name"),
        ("bröker:1883", "has no valid DNS name"),
        ("broker", "has no port"),
    ];
    for (text, problem) in cases {
        assert_eq!(backend(text).unwrap_err().problem, problem, "{text}");
    }
}

proptest! {
    #[test]
    fn never_panics(text in "[\\[\\]:./0-9a-f ]*|\\PC*") {
        drop(listen(&text));
        drop(backend(&text));
    }

    #[test]
    fn reads_back_every_address(ip: IpAddr, port in 1u16..) {
        let address = SocketAddr::new(ip, port);
        prop_assume!(!ip.is_unspecified());

        prop_assert_eq!(backend(&address.to_string()).unwrap().to_string(), address.to_string());
    }
}

/// What somebody wrote for a listener, the complaint, and what it proposes.
const MEANT: [(&str, &str, &str); 19] = [
    ("0.0.0.0", "has no port", "0.0.0.0:1883"),
    ("[::]", "has no port", "[::]:1883"),
    ("0.0.0.0:", "has no port", "0.0.0.0:1883"),
    (":8883", "has no address", "0.0.0.0:8883"),
    ("8883", "has no address", "0.0.0.0:8883"),
    ("", "has neither address nor port", "0.0.0.0:1883"),
    (
        "::1",
        "is an IPv6 address without brackets and port",
        "[::1]:1883",
    ),
    (
        "::1:8883",
        "is an IPv6 address without brackets and port",
        "[::1]:8883",
    ),
    (
        "1:2:3:4:5:6:7:8:1883",
        "has an IPv6 address without brackets",
        "[1:2:3:4:5:6:7:8]:1883",
    ),
    (
        "[::ffff:1.2.3.4]:1883",
        "is an IPv4 address written as IPv6",
        "1.2.3.4:1883",
    ),
    (
        "[fe80::1%eth0]:1883",
        "has no IPv6 address in its brackets",
        "[::1]:1883",
    ),
    (
        "localhost:1883",
        "does not begin with an IP address",
        "127.0.0.1:1883",
    ),
    (
        "*:1883",
        "does not begin with an IP address",
        "0.0.0.0:1883",
    ),
    (
        "mqtt://0.0.0.0:1883/",
        "is a URL, not an address",
        "0.0.0.0:1883",
    ),
    ("tcp://0.0.0.0", "is a URL, not an address", "0.0.0.0:1883"),
    (
        "0.0.0.0 :1883",
        "has a space or a control character in it",
        "0.0.0.0:1883",
    ),
    (
        "0.0.0.0:0",
        "has the port \"0\", which is not from 1 to 65535",
        "0.0.0.0:1883",
    ),
    (
        "0.0.0.0:+1",
        "has the port \"+1\", which is not from 1 to 65535",
        "0.0.0.0:1883",
    ),
    (
        "0.0.0.0:70000",
        "has the port \"70000\", which is not from 1 to 65535",
        "0.0.0.0:1883",
    ),
];
