//! How spliced connections end, and that nothing is left of them.

#![cfg(test)]

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use harness::bed::{Bed, Family, Flow, From};
use harness::broker::reset;
use harness::client::Client;
use harness::ends::{Ends, expect_reset, pass, talk};
use harness::forge::{PSH, RST, SYN, Segment};
use harness::namespace::Place;
use harness::shape::Shape;
use harness::stream::expect_end;
use harness::wire::{Connect, Version};
use harness::{need, sockets, wait};

/// Where client and broker are; each family is everywhere in tests/splice_bytes.
const PLACES: [(Place, Family); 6] = [
    (Place::Apart, Family::V4),
    (Place::Apart, Family::V6),
    (Place::Loopback, Family::V6),
    (Place::BrokerHere, Family::V4),
    (Place::ClientHere, Family::V6),
    (Place::AllHere, Family::V4),
];

/// Runs `close` on a connection that is in the kernel, in each place, and expects it to be forgotten.
fn forgets(close: impl Fn(&Ends, Client, TcpStream) + Sync) -> Result<(), String> {
    everywhere(&PLACES, |place, family| {
        let ends = Ends::at(place, family)?;
        let (client, broker) = ends.open();
        talk(&client, &broker);
        close(&ends, client, broker);
        ends.bed.until_forgotten();
        Ok(())
    })
}

/// All at once, as most of it is waiting.
fn everywhere(
    places: &[(Place, Family)],
    run: impl Fn(Place, Family) -> Result<(), String> + Sync,
) -> Result<(), String> {
    thread::scope(|scope| {
        let start = |(place, family): &(Place, Family)| {
            let (place, family, run) = (*place, *family, &run);
            let name = format!("{place:?} {family:?}");
            let thread = thread::Builder::new().name(name);
            thread
                .spawn_scoped(scope, move || run(place, family))
                .expect("there is room for a thread")
        };
        let threads: Vec<_> = places.iter().map(start).collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().expect("it holds in every place"))
    })
}

fn end_writing(stream: &TcpStream) {
    stream.shutdown(Shutdown::Write).expect("it is open");
}

#[test]
fn a_client_that_closes_is_forgotten() {
    need!(forgets(|_, client, broker| {
        drop(client);
        expect_end(&broker);
    }));
}

#[test]
fn a_client_whose_broker_closes_is_forgotten() {
    need!(forgets(|_, client, broker| {
        drop(broker);
        expect_end(&client.0);
    }));
}

#[test]
fn a_client_that_has_finished_is_still_sent_to() {
    let long = vec![7; 3 << 20];
    need!(forgets(|_, client, broker| {
        end_writing(&client.0);
        expect_end(&broker);
        pass(&broker, &client.0, &long);
        drop(broker);
        expect_end(&client.0);
    }));
}

#[test]
fn a_broker_that_has_finished_is_still_sent_to() {
    let long = vec![7; 3 << 20];
    need!(forgets(|_, client, broker| {
        end_writing(&broker);
        expect_end(&client.0);
        pass(&client.0, &broker, &long);
        drop(client);
        expect_end(&broker);
    }));
}

#[test]
fn a_reset_of_the_client_reaches_the_broker() {
    need!(forgets(|_, client, broker| {
        reset(client.0);
        expect_reset(&broker);
    }));
}

#[test]
fn a_reset_of_the_broker_reaches_the_client() {
    need!(forgets(|_, client, broker| {
        reset(broker);
        expect_reset(&client.0);
    }));
}

/// A segment as the sender of a flow could send it, so far beyond what it has sent.
fn forged(flow: &Flow, from: SocketAddr, to: SocketAddr, beyond: u32, flags: u8) -> Segment {
    let sequence = flow.sequence("highest_sequence").wrapping_add(beyond);
    Segment {
        from,
        to,
        sequence,
        flags,
        payload: 0,
    }
}

/// Sends a segment for the only connection, as if from its client or its broker.
fn forge(bed: &Bed, [client, broker]: [&TcpStream; 2], from: From, beyond: u32, flags: u8) {
    let flow = bed.flows(from).remove(0);
    let (host, end) = match from {
        From::Client => (&bed.topology.client, client),
        From::Broker => (&bed.topology.broker, broker),
    };
    let address = end.local_addr().expect("it is connected");
    let to = end.peer_addr().expect("it is connected");
    let segment = forged(&flow, address, to, beyond, flags);
    host.run(|| segment.send());
}

#[test]
fn forged_resets_and_requests_that_miss_change_nothing() {
    need!(forgets(|ends, client, broker| {
        for from in [From::Client, From::Broker] {
            for flags in [RST, SYN] {
                for beyond in [1, u32::MAX, 30_000] {
                    forge(&ends.bed, [&client.0, &broker], from, beyond, flags);
                    talk(&client, &broker);
                }
            }
        }
        ends.bed.until_spliced(1);
        // It was forged well enough: on the spot, it is obeyed.
        forge(&ends.bed, [&client.0, &broker], From::Client, 0, RST);
        expect_reset(&broker);
        drop(client);
    }));
}

/// A connection from a port of the test's choice.
fn open_from(ends: &Ends, port: u16) -> (Client, TcpStream) {
    let shape = Shape {
        source_port: Some(port),
        ..Shape::default()
    };
    ends.introduce(shape, &Connect::new(Version::V5, "again"))
}

/// Opens a connection, ends it, and opens another from the same port as soon as it can be.
fn reuses(
    places: &[(Place, Family)],
    end: impl Fn(&Ends, Client, TcpStream) + Sync,
) -> Result<(), String> {
    const PORT: u16 = 40_001;
    everywhere(places, |place, family| {
        let ends = Ends::at(place, family)?;
        let (client, broker) = open_from(&ends, PORT);
        talk(&client, &broker);
        end(&ends, client, broker);
        let (client, broker) = open_from(&ends, PORT);
        talk(&client, &broker);
        drop((client, broker));
        ends.bed.until_forgotten();
        Ok(())
    })
}

#[test]
fn the_port_of_a_client_that_has_reset_may_be_used_at_once() {
    need!(reuses(&PLACES, |_, client, broker| {
        reset(client.0);
        expect_reset(&broker);
    }));
}

#[test]
fn the_port_of_a_client_whose_broker_has_closed_may_be_used_at_once() {
    need!(reuses(&PLACES, |_, client, broker| {
        end_writing(&broker);
        expect_end(&client.0);
        drop(client);
        expect_end(&broker);
    }));
}

#[test]
fn a_client_that_lost_its_memory_may_use_its_port_again() {
    need!(reuses(&PLACES[..2], |ends, client, broker| {
        let host = &ends.bed.topology.client;
        host.sysctl("net.ipv6.conf.uplink.keep_addr_on_down", "1");
        host.ip(&["link", "set", "uplink", "down"]);
        reset(client.0);
        host.ip(&["link", "set", "uplink", "up"]);
        // The broker learns of it when the client is asked about a connection it does not have.
        std::mem::forget(broker);
    }));
}

#[test]
fn a_client_that_vanishes_is_missed_after_its_keep_alive() {
    need!(everywhere(&PLACES[..4], |place, family| {
        let ends = Ends::at(place, family)?;
        let connect = Connect::new(Version::V5, "quiet").keep_alive(1);
        let (client, broker) = ends.introduce(Shape::default(), &connect);
        talk(&client, &broker);
        ends.bed
            .topology
            .client
            .ip(&["link", "set", "uplink", "down"]);

        expect_reset(&broker);

        ends.bed.until_forgotten();
        Ok(())
    }));
}

#[test]
fn a_silent_client_of_a_broker_that_vanishes_is_told() {
    let places = [PLACES[0], PLACES[1], (Place::ClientHere, Family::V4)];
    need!(everywhere(&places, |place, family| {
        let ends = Ends::at(place, family)?;
        let connect = Connect::new(Version::V5, "quiet").keep_alive(1);
        let (client, broker) = ends.introduce(Shape::default(), &connect);
        talk(&client, &broker);
        ends.bed
            .topology
            .broker
            .ip(&["link", "set", "uplink", "down"]);

        expect_reset(&client.0);

        ends.bed.until_forgotten();
        Ok(())
    }));
}

/// A broker that reads nothing, and whose window is closed.
fn full(ends: &Ends) -> (Client, TcpStream) {
    let (mut client, broker) = ends.open();
    let stream = &mut client.0;
    stream
        .set_write_timeout(Some(Duration::from_millis(500)))
        .expect("it is a socket");
    let block = vec![7; 1 << 16];
    let mut sent = 0_usize;
    let held_back = loop {
        match wait::uninterrupted(|| stream.write(&block)) {
            Ok(count) => sent += count,
            Err(error) => break error,
        }
    };
    assert_eq!(
        held_back.kind(),
        ErrorKind::WouldBlock,
        "after {sent} bytes"
    );
    (client, broker)
}

#[test]
fn a_broker_that_had_no_window_for_a_reset_is_told_all_the_same() {
    for family in Family::BOTH {
        let ends = need!(Ends::new(family));
        let (client, mut broker) = full(&ends);
        // What has no room there is carried and dropped, and so is the reset behind it.
        let mut segment = forged(
            &ends.bed.flows(From::Client)[0],
            client.0.local_addr().expect("it is connected"),
            family.balancer(),
            0,
            PSH,
        );
        segment.payload = 512;
        ends.bed.topology.client.run(|| segment.send());
        let reset = Segment {
            sequence: segment.sequence.wrapping_add(512),
            flags: RST,
            payload: 0,
            ..segment
        };
        ends.bed.topology.client.run(|| reset.send());

        ends.bed.until_forgotten();
        // It has said nothing since, to which this host could have answered with a reset.
        wait::until("the broker has no connection any more", || {
            ends.bed.topology.broker.run(sockets::connections) == 0
        });

        let mut read = vec![0; 1 << 16];
        let end = loop {
            match wait::uninterrupted(|| broker.read(&mut read)) {
                Ok(0) => panic!("it was closed, not reset"),
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        assert_eq!(end.kind(), ErrorKind::ConnectionReset);
    }
}
