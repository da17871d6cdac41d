//! How clients are shared among backends.

#![cfg(test)]

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::thread;

use harness::bed::{Bed, COPY, Family};
use harness::bpftool::Pins;
use harness::broker::{self, Broker};
use harness::client::Client;
use harness::daemon::Daemon;
use harness::echo::Echo;
use harness::setup::Setup;
use harness::shape::Shape;
use harness::wait;
use harness::wire::{Connect, Version};
use harness::{namespace, need};

const WEIGHTS: [u64; 3] = [1, 1, 2];

/// Three brokers with these weights.
fn weighted(setup: Setup, brokers: &[Echo]) -> Setup {
    let each = brokers.iter().zip(WEIGHTS).enumerate();
    each.fold(setup, |setup, (n, (broker, weight))| {
        setup
            .backend(&format!("broker-{n}"), broker.address)
            .of_backend(&format!("weight = {weight}"))
    })
}

/// Clients with an id and an address of their own come and go.
fn come_and_go(address: SocketAddr, clients: Range<u32>) {
    for n in clients {
        let [_, a, b, c] = n.to_be_bytes();
        let shape = Shape {
            source_address: Some(Ipv4Addr::new(127, 100 + a, b, c).into()),
            ..Shape::default()
        };
        let connect = Connect::new(Version::V3_1_1, &format!("device-{n}"));
        Client::over(shape.dial(address)).introduce(&connect);
    }
}

/// No backend is off its part of all that were opened by more than 5 % of that.
fn assert_shared(daemon: &Daemon, clients: u64, what: &str) {
    let status = daemon.status();
    for (n, weight) in WEIGHTS.into_iter().enumerate() {
        let opened = status["backends"][n]["opened"].as_u64().expect("it counts");
        let due = clients * weight / WEIGHTS.iter().sum::<u64>();
        assert!(
            opened.abs_diff(due) * 20 <= due,
            "{what}: broker-{n} had {opened} of {due}"
        );
    }
}

#[test]
fn clients_that_come_and_go_are_shared_by_weight() {
    const CLIENTS: u32 = 10_000;
    const THREADS: u32 = 8;
    need!(namespace::enter_new());
    let each = |path| ["client_id", "round_robin", "source"].map(|algorithm| (algorithm, path));
    for (algorithm, path) in each("auto").into_iter().chain(each("copy")) {
        let brokers = [Echo::start(), Echo::start(), Echo::start()];
        let daemon = weighted(Setup::new(), &brokers)
            .pool(&format!("balance = {algorithm:?}"))
            .listener(&format!("datapath = {path:?}"))
            .with_kernel(need!(Pins::new()))
            .start();
        let address = daemon.address();

        thread::scope(|scope| {
            for part in 0..THREADS {
                let each = CLIENTS / THREADS;
                scope.spawn(move || come_and_go(address, part * each..(part + 1) * each));
            }
        });

        assert_shared(&daemon, CLIENTS.into(), algorithm);
        let spliced = daemon.chosen("eligible") * 2 > CLIENTS.into();
        assert_eq!(spliced, path == "auto", "{}", daemon.status());
    }
}

#[test]
fn connections_in_the_kernel_count_for_the_fewest_connections() {
    const CLIENTS: u64 = 200;
    for family in Family::BOTH {
        let mut bed = need!(Bed::new(family));
        let at = |port| SocketAddr::new(family.broker().ip(), port);
        let echo = |port| bed.topology.broker.run(|| Echo::start_at(at(port)));
        let brokers = [echo(1001), echo(1002), echo(1003)];
        let setup = Setup::new()
            .bind(&[family.balancer()])
            .pool(r#"balance = "least_connections""#)
            .with_kernel(need!(Pins::new()))
            .kernel(r#"interfaces = ["clients", "brokers"]"#);
        bed.setup = weighted(setup, &brokers);
        let daemon = bed.start();
        let mut clients: Vec<Client> = (0..CLIENTS).map(|n| bed.open(&format!("{n}"))).collect();
        bed.until_spliced(clients.len());

        // They took turns of four, so that this leaves holes of different sizes.
        let mut n = 0;
        clients.retain(|_| {
            n += 1;
            n % 4 < 2
        });
        wait::until("those that went are counted", || {
            daemon.connections() == clients.len() as u64
        });
        let again = clients.len()..200;
        clients.extend(again.map(|n| bed.open(&format!("again-{n}"))));

        let status = daemon.status();
        for (n, weight) in WEIGHTS.into_iter().enumerate() {
            let due = CLIENTS * weight / WEIGHTS.iter().sum::<u64>();
            assert_eq!(status["backends"][n]["connections"], due, "{status:#}");
        }
    }
}

#[test]
fn clients_that_stay_for_a_while_are_shared_by_weight_where_load_decides() {
    // Ten thousand at a time are more than this process has descriptors for.
    const WAVES: u64 = 2;
    const AT_A_TIME: u32 = 5_000;
    const THREADS: u32 = 4;
    // The first of these listeners is spliced, the second copies.
    for (algorithm, port) in [
        ("least_connections", 1883),
        ("least_connections", 1884),
        ("random", 1883),
        ("random", 1884),
    ] {
        let mut bed = need!(Bed::new(Family::V4));
        let at = |port| SocketAddr::new(bed.family.broker().ip(), port);
        let echo = |port| bed.topology.broker.run(|| Echo::start_at(at(port)));
        let brokers = [echo(1001), echo(1002), echo(1003)];
        let setup = Setup::new()
            .bind(&[bed.family.balancer()])
            .pool(&format!("balance = {algorithm:?}"))
            .with_kernel(need!(Pins::new()))
            .kernel(r#"interfaces = ["clients", "brokers"]"#);
        bed.setup = weighted(setup, &brokers).more(COPY);
        let daemon = bed.start();

        for _ in 0..WAVES {
            let clients = open_beside(&bed, port, THREADS, AT_A_TIME / THREADS);
            assert_eq!(daemon.connections(), u64::from(AT_A_TIME));
            drop(clients);
            wait::until("they have gone", || daemon.connections() == 0);
        }

        let what = format!("{algorithm} at {port}");
        let all = WAVES * u64::from(AT_A_TIME);
        assert_shared(&daemon, all, &what);
        let spliced = daemon.chosen("eligible");
        assert_eq!(spliced * 2 > all, port == 1883, "{what}: {spliced}");
    }
}

/// Opens as many clients in each of some threads.
fn open_beside(bed: &Bed, port: u16, threads: u32, each: u32) -> Vec<Client> {
    let open = |thread| {
        move || -> Vec<Client> {
            let ids = (0..each).map(|n| format!("device-{thread}-{n}"));
            ids.map(|id| bed.open_at(port, &id)).collect()
        }
    };
    thread::scope(|scope| {
        let opening: Vec<_> = (0..threads).map(|n| scope.spawn(open(n))).collect();
        let opened = opening.into_iter();
        opened
            .flat_map(|thread| thread.join().expect("all are accepted"))
            .collect()
    })
}

/// Where each client has been last, by its id.
type Homes = Arc<Mutex<HashMap<Vec<u8>, usize>>>;

/// A broker that notes who comes; its clients have ids of [`ID_BYTES`].
fn noting(number: usize, homes: &Homes) -> Broker {
    let homes = Arc::clone(homes);
    Broker::start(move |mut stream| {
        let connect = broker::accept(&mut stream);
        let id = connect[connect.len() - ID_BYTES..].to_vec();
        homes
            .lock()
            .expect("nobody fails with it")
            .insert(id, number);
        // Whoever goes may do so in any way.
        io::copy(&mut stream, &mut io::sink()).unwrap_or_default();
    })
}

const ID_BYTES: usize = 8;

/// Where clients go who come one after the other.
fn go_home(daemon: &Daemon, homes: &Homes, clients: u32) -> HashMap<Vec<u8>, usize> {
    for n in 0..clients {
        let connect = Connect::new(Version::V3_1_1, &format!("{n:0ID_BYTES$}"));
        drop(Client::open(daemon.address(), &connect));
    }
    let homes = homes.lock().expect("nobody fails with it").clone();
    assert_eq!(homes.len(), clients as usize);
    homes
}

#[test]
fn a_backend_more_or_less_moves_its_part_and_no_other() {
    const CLIENTS: u32 = 2000;
    need!(namespace::enter_new());
    for (path, because) in [("auto", "eligible"), ("copy", "configured")] {
        let homes = Homes::default();
        let brokers = [0, 1, 2, 3].map(|number| noting(number, &homes));
        let with = |setup: Setup, numbers: Range<usize>| {
            numbers.fold(setup, |setup, n| {
                setup.backend(&format!("broker-{n}"), brokers[n].address())
            })
        };
        let none = Setup::new()
            .pool(r#"balance = "client_id""#)
            .listener(&format!("datapath = {path:?}"))
            .with_kernel(need!(Pins::new()));
        let setup = with(none, 0..3);
        let daemon = setup.start();

        let three = go_home(&daemon, &homes, CLIENTS);
        with(setup.clone(), 3..4).write_config();
        daemon.reload();
        let four = go_home(&daemon, &homes, CLIENTS);
        with(setup.clone().without_backends(), 1..4).write_config();
        daemon.reload();
        let others = go_home(&daemon, &homes, CLIENTS);

        let moved = |from: &HashMap<_, usize>, to: &HashMap<_, usize>| {
            let pairs = from.iter().map(|(id, home)| (*home, to[id]));
            pairs.filter(|(old, new)| old != new).collect::<Vec<_>>()
        };
        let came = moved(&three, &four);
        assert!(came.iter().all(|(_, new)| *new == 3), "only to the new one");
        assert!(
            (400..=600).contains(&came.len()),
            "{} of a quarter",
            came.len()
        );
        let went = moved(&four, &others);
        assert!(
            went.iter().all(|(old, _)| *old == 0),
            "only from the old one"
        );
        let had = four.values().filter(|home| **home == 0).count();
        assert_eq!(went.len(), had, "all of them");
        assert!((400..=600).contains(&had), "{had} of a quarter");
        let chosen = daemon.chosen(because);
        assert!(chosen > u64::from(CLIENTS), "{path}: {}", daemon.status());
    }
}
