//! How connections on the sockmap path end, and that nothing is left of them.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};

use harness::bed::Family;
use harness::broker::reset;
use harness::client::Client;
use harness::ends::{expect_reset, pass, talk};
use harness::namespace::Topology;
use harness::need;
use harness::shape::Shape;
use harness::stream::expect_end;
use harness::wait::uninterrupted;

use crate::{Ground, connect};

/// Runs `close` on a connection of each family, and expects it to be forgotten.
fn forgets(close: impl Fn(Client, TcpStream)) -> Result<(), String> {
    for family in Family::BOTH {
        let ground = Ground::new(family)?;
        let (client, broker) = ground.open("only");
        talk(&client, &broker);
        talk(&client, &broker);
        close(client, broker);
        ground.until_forgotten();
    }
    Ok(())
}

fn end_writing(stream: &TcpStream) {
    stream.shutdown(Shutdown::Write).expect("it is open");
}

#[test]
fn a_client_that_closes_is_forgotten() {
    need!(forgets(|client, broker| {
        drop(client);
        expect_end(&broker);
    }));
}

#[test]
fn a_client_whose_broker_closes_is_forgotten() {
    need!(forgets(|client, broker| {
        drop(broker);
        expect_end(&client.0);
    }));
}

#[test]
fn a_client_that_has_finished_is_still_sent_to() {
    let long = vec![7; 3 << 20];
    need!(forgets(|client, broker| {
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
    need!(forgets(|client, broker| {
        end_writing(&broker);
        expect_end(&client.0);
        pass(&client.0, &broker, &long);
        drop(client);
        expect_end(&broker);
    }));
}

#[test]
fn a_reset_of_the_client_reaches_the_broker() {
    need!(forgets(|client, broker| {
        reset(client.0);
        expect_gone(&broker);
    }));
}

#[test]
fn a_reset_of_the_broker_reaches_the_client() {
    need!(forgets(|client, broker| {
        reset(broker);
        expect_gone(&client.0);
    }));
}

/// What a side that was reset leads to: the end, as on the copy path, or a reset.
fn expect_gone(mut stream: &TcpStream) {
    let mut more = [0; 64];
    match uninterrupted(|| stream.read(&mut more)) {
        Ok(count) => assert_eq!(count, 0, "more came than was sent"),
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
    }
}

/// Bytes and then the end at once: the kernel may still be moving the bytes when the end is seen.
#[test]
fn nothing_is_lost_right_before_the_end() {
    const RUNS: usize = 100;
    let ground = need!(Ground::new(Family::V4));
    let words: Vec<u8> = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
    for run in 0..RUNS {
        let (client, broker) = ground.open("again");
        talk(&client, &broker);
        let (from, to) = if run % 2 == 0 {
            (client.0, broker)
        } else {
            (broker, client.0)
        };
        let word = &words[..(run + 1) * words.len() / RUNS];
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let mut from = from;
                from.write_all(word).expect("it is open");
                // Closed, with nothing left to be read.
                drop(from);
            });
            let mut heard = Vec::new();
            (&to).read_to_end(&mut heard).expect("the end comes");
            assert!(heard == word, "{} of {} bytes", heard.len(), word.len());
        });
    }
    ground.until_forgotten();
}

#[test]
fn a_client_that_falls_silent_is_given_up_and_no_other() {
    for family in Family::BOTH {
        let change = |setup: harness::setup::Setup| setup.limits(r#"idle_margin = "1s""#);
        let ground = need!(Ground::with(need!(Topology::new()), None, family, change));
        let (talker, its_broker) = ground.open("talker");
        let quiet = connect("quiet").keep_alive(1);
        let client = ground.bed.introduce(Shape::default(), &quiet);
        let broker = ground.accepted();
        talk(&client, &broker);

        expect_reset(&client.0);
        expect_reset(&broker);

        talk(&talker, &its_broker);
        assert_eq!(ground.daemon.status()["sockmap"]["moved"]["idle"], 1);
        drop((talker, its_broker));
        ground.until_forgotten();
    }
}

#[test]
fn a_client_of_a_backend_that_is_drained_is_let_go() {
    for family in Family::BOTH {
        let ground = need!(Ground::new(family));
        let (client, broker) = ground.open("only");
        talk(&client, &broker);

        ground.daemon.told(&["drain", "broker"]);

        expect_end(&client.0);
        expect_end(&broker);
        ground.until_forgotten();
    }
}
