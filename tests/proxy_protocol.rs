//! The PROXY protocol header: brokers see whose connection it is, and bytes behind it are whole on every
//! path.

#![cfg(test)]

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};

use harness::bed::{Bed, COPY, Family};
use harness::broker::{self, Broker};
use harness::client::Client;
use harness::haproxy::Haproxy;
use harness::mosquitto::Mosquitto;
use harness::paho::Paho;
use harness::rabbitmq::RabbitMq;
use harness::setup::Setup;
use harness::shape::Shape;
use harness::wire::{self, Connect, Version};
use harness::{need, wait};

/// What begins a header of version 2 (section 2.2).
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// Reads a header, and nothing of what follows.
fn header(stream: &mut TcpStream) -> Vec<u8> {
    let mut header = vec![0; 12];
    stream.read_exact(&mut header).expect("a header comes");
    if header == SIGNATURE {
        let mut rest = [0; 4];
        stream.read_exact(&mut rest).expect("it has a length");
        header.extend(rest);
        let mut addresses = vec![0; usize::from(u16::from_be_bytes([rest[2], rest[3]]))];
        stream.read_exact(&mut addresses).expect("it is whole");
        header.extend(addresses);
        return header;
    }
    while !header.ends_with(b"\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("a line comes");
        header.push(byte[0]);
        // Section 2.1: the longest line.
        assert!(header.len() <= 107, "{header:?}");
    }
    header
}

/// The header that the specification wants, made without the daemon's code.
fn expected(version: &str, from: SocketAddr, to: SocketAddr) -> Vec<u8> {
    if version == "v1" {
        let family = if from.is_ipv4() { "TCP4" } else { "TCP6" };
        let (from, of, to, at) = (from.ip(), from.port(), to.ip(), to.port());
        return format!("PROXY {family} {from} {to} {of} {at}\r\n").into_bytes();
    }
    let addresses: Vec<u8> = match (from, to) {
        (SocketAddr::V4(from), SocketAddr::V4(to)) => {
            [from.ip().octets(), to.ip().octets()].concat()
        }
        (SocketAddr::V6(from), SocketAddr::V6(to)) => {
            [from.ip().octets(), to.ip().octets()].concat()
        }
        _ => panic!("{from} cannot reach {to}"),
    };
    let ports = [from.port().to_be_bytes(), to.port().to_be_bytes()].concat();
    let family = if from.is_ipv4() { 0x11 } else { 0x21 };
    let length = u8::try_from(addresses.len() + ports.len()).expect("it is short");
    let start = [0x21, family, 0, length];
    [SIGNATURE.as_slice(), &start, &addresses, &ports].concat()
}

/// Tells the header, and echoes what comes behind the CONNECT.
fn echo(told: Sender<Vec<u8>>) -> impl Fn(TcpStream) + Send + Sync + 'static {
    let told = std::sync::Mutex::new(told);
    move |mut stream| {
        let header = header(&mut stream);
        let told = told.lock().expect("nobody panics").clone();
        told.send(header).expect("the test listens");
        broker::accept(&mut stream);
        let mut block = [0; 4096];
        while let Ok(count @ 1..) = stream.read(&mut block) {
            stream.write_all(&block[..count]).expect("it is read");
        }
    }
}

fn told() -> (Sender<Vec<u8>>, Receiver<Vec<u8>>) {
    channel()
}

#[test]
fn brokers_see_clients_on_splice_and_copy_by_both_families() {
    for family in Family::BOTH {
        for version in ["v1", "v2"] {
            need!(seen(family, version));
        }
    }
}

fn seen(family: Family, version: &str) -> Result<(), String> {
    let mut bed = Bed::new(family)?;
    let line = format!("proxy_protocol = {version:?}");
    bed.setup = bed.setup.pool(&line).more(COPY);
    let (tell, told) = told();
    let at = bed.broker;
    let _broker = bed.topology.broker.run(|| Broker::start_at(at, echo(tell)));
    let daemon = bed.start();

    for (port, path) in [(1883, "eligible"), (1884, "configured")] {
        let to = SocketAddr::new(family.balancer().ip(), port);
        let before = daemon.chosen(path);
        let stream = bed.topology.client.run(|| Shape::default().dial(to));
        let from = stream.local_addr().expect("it is connected");
        let mut client = Client::over(stream);
        // Behind the CONNECT in the same segment.
        client.send(&[Connect::new(Version::V5, "seen").bytes(), vec![7; 3000]].concat());
        assert_eq!(
            told.recv().expect("a client came"),
            expected(version, from, to)
        );
        assert_eq!(client.packet(), wire::connack(5, 0, &[]));
        assert_eq!(client.bytes(3000), [7; 3000]);
        wait::until("the path is chosen", || daemon.chosen(path) == before + 1);
        if path == "eligible" {
            bed.until_spliced(1);
        }
        for length in [1, 1000, 100_000_usize] {
            let words: Vec<u8> = (0..length).map(|n| n.to_le_bytes()[0]).collect();
            for part in words.chunks(20_000) {
                client.send(part);
                assert!(client.bytes(part.len()) == part, "{length} bytes");
            }
        }
    }
    bed.until_forgotten();
    Ok(())
}

#[test]
fn each_backend_that_is_tried_gets_the_header() {
    let (tell, told) = told();
    let first = tell.clone();
    let refusing = Broker::start(move |mut stream| {
        first.send(header(&mut stream)).expect("the test listens");
        let connect = wire::read_packet(&mut stream).expect("a CONNECT comes");
        let refusal = wire::connack(wire::level(&connect), 3, &[]);
        stream.write_all(&refusal).expect("it is read");
    });
    let serving = Broker::start(echo(tell));
    let daemon = Setup::new()
        .pool(r#"balance = "first""#)
        .pool(r#"proxy_protocol = "v2""#)
        .backend("refusing", refusing.address())
        .backend("serving", serving.address())
        .start();

    let mut client = Client::dial(daemon.address());
    let from = client.0.local_addr().expect("it is connected");
    client.introduce(&Connect::new(Version::V3_1_1, "client"));

    let header = expected("v2", from, daemon.address());
    assert_eq!(told.recv().expect("it was tried"), header);
    assert_eq!(told.recv().expect("it was tried"), header);
    client.send(b"word");
    assert_eq!(client.bytes(4), b"word");
}

#[test]
fn checks_send_the_header_of_their_own_connection() {
    for version in ["v1", "v2"] {
        let (tell, told) = told();
        let broker = Broker::start(echo(tell));
        let daemon = Setup::new()
            .pool(&format!("proxy_protocol = {version:?}"))
            .health(r#"check = "mqtt""#)
            .health(r#"interval = "100ms""#)
            .backend("broker", broker.address())
            .start();

        let header = told.recv().expect("it is checked");
        let to = broker.address();
        let from = if version == "v1" {
            let line = String::from_utf8(header.clone()).expect("it is text");
            line.split(' ').nth(4).and_then(|port| port.parse().ok())
        } else {
            Some(u16::from_be_bytes([header[24], header[25]]))
        };
        let from = (to.ip(), from.expect("it is a port")).into();
        assert_eq!(header, expected(version, from, to));
        daemon.until_backend_is("broker", "up");
    }
}

#[test]
fn a_reload_changes_what_later_clients_send() {
    let (tell, told) = told();
    let broker = Broker::start(echo(tell));
    let setup = Setup::new()
        .pool(r#"proxy_protocol = "v1""#)
        .backend("broker", broker.address());
    let daemon = setup.start();
    let mut old = Client::open(daemon.address(), &Connect::new(Version::V5, "old"));
    assert!(told.recv().expect("it came").starts_with(b"PROXY TCP4"));

    setup.write_text(&setup.config().replace("\"v1\"", "\"v2\""));
    let said = daemon.reload();
    assert!(said.contains("proxy_protocol"), "{said}");

    let mut new = Client::open(daemon.address(), &Connect::new(Version::V5, "new"));
    assert!(told.recv().expect("it came").starts_with(SIGNATURE));
    for client in [&mut old, &mut new] {
        client.send(b"word");
        assert_eq!(client.bytes(4), b"word");
    }
}

#[test]
fn a_real_broker_sees_the_address_of_its_client() {
    let rabbit = need!(RabbitMq::start_with("mqtt.proxy_protocol = true\n"));
    let daemon = Setup::new()
        .pool(r#"proxy_protocol = "v2""#)
        .health(r#"check = "mqtt""#)
        .backend("rabbit", rabbit.address)
        .start();
    daemon.until_backend_is("rabbit", "up");
    let shape = Shape {
        source_address: Some(Ipv4Addr::new(127, 0, 0, 77).into()),
        ..Shape::default()
    };

    let mut client = Client::over(shape.dial(daemon.address()));
    client.introduce(&Connect::new(Version::V3_1_1, "hare"));
    client.send(&wire::subscribe(Version::V3_1_1, "burrow"));
    assert_eq!(client.packet()[0], wire::SUBACK);
    let publish = wire::publish(Version::V3_1_1, "burrow", b"a carrot");
    client.send(&publish);
    assert_eq!(client.packet(), publish);

    // Its pages are some seconds old.
    wait::until("the address is shown", || {
        rabbit.page("/api/connections").contains("127.0.0.77")
    });
}

#[test]
fn haproxy_sees_the_clients_of_mosquitto_spliced_and_copied() {
    let paho = need!(Paho::find());
    for (family, version) in [(Family::V4, "v2"), (Family::V6, "v1")] {
        let mut bed = need!(Bed::new(family));
        let host = &bed.topology.broker;
        let broker = need!(host.run(|| Mosquitto::start_at("a", family.loopback())));
        let receiver = need!(host.run(|| Haproxy::start_at(family.broker(), broker.address)));
        let line = format!("proxy_protocol = {version:?}");
        bed.setup = bed.setup.pool(&line).more(COPY);
        let daemon = bed.start();

        let listener = family.balancer();
        for (port, mqtt) in [(listener.port(), "5.0"), (1884, "3.1.1")] {
            let address = SocketAddr::new(listener.ip(), port).to_string();
            let run = || paho.run("delivery.py", &[&address, mqtt]);
            bed.topology.client.run(run);
            bed.until_forgotten();
        }

        assert_eq!(daemon.chosen("eligible"), 2, "{}", daemon.status());
        assert_eq!(daemon.chosen("configured"), 2, "{}", daemon.status());
        // It writes a line when a connection has ended.
        for port in [listener.port(), 1884] {
            let from = format!("{}:", family.client());
            let to = format!(" {}:{port}", listener.ip());
            wait::until("HAProxy has noted both clients", || {
                let log = receiver.log();
                let theirs = |line: &&str| line.starts_with(&from) && line.ends_with(&to);
                log.lines().filter(theirs).count() == 2
            });
        }
    }
}
