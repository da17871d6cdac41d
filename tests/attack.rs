//! A thousand hostile connections a second for some seconds: those who talk notice nothing, and
//! nothing is left of it. Long CONNECTs that never end have a bound in all.

#![cfg(test)]

use std::io::{self, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use harness::bed::{Bed, Family};
use harness::broker::{self, Broker};
use harness::client::Client;
use harness::daemon::Daemon;
use harness::echo::Echo;
use harness::setup::Setup;
use harness::shape::Shape;
use harness::talk::Talk;
use harness::wire::{self, Connect, Version};
use harness::{need, wait};

/// Clients that talk.
const TALKING: usize = 20;
/// Hostile connections in all, and between two of a thread.
const HOSTILE: usize = 4_000;
const THREADS: usize = 4;
const APART: Duration = Duration::from_millis(4);
/// What the daemon may need more while it lasts: half of them send 64 KiB, or say so.
const MEMORY: usize = 192 << 20;

/// How a connection is hostile.
#[derive(Clone, Copy)]
enum Hostile {
    /// It connects and is gone.
    Scan,
    /// It sends what is not MQTT.
    Garbage,
    /// It sends the beginning of a CONNECT and waits.
    Half,
    /// It sends a byte, and another one later.
    Slow,
    /// It sends a CONNECT of all but 64 KiB, but for its end.
    Large,
}

const KINDS: [Hostile; 5] = [
    Hostile::Scan,
    Hostile::Garbage,
    Hostile::Half,
    Hostile::Slow,
    Hostile::Large,
];

impl Hostile {
    /// Connects and does it; gives back the connection where that is to stay.
    fn begin(self, bed: &Bed, n: usize) -> Option<TcpStream> {
        let address = bed.family.balancer();
        let dial = || TcpStream::connect(address);
        let mut stream = bed.topology.client.run(dial).ok()?;
        let connect = Connect::new(Version::V5, &format!("hostile-{n}")).bytes();
        let large = || {
            let id = "x".repeat(60_000);
            let connect = Connect::new(Version::V3_1_1, &id).bytes();
            connect[..connect.len() - 1].to_vec()
        };
        let sent = match self {
            Self::Scan => {
                broker::reset(stream);
                return None;
            }
            Self::Garbage => b"GET / HTTP/1.1\r\nHost: broker\r\n\r\n".to_vec(),
            Self::Half => connect[..connect.len() / 2].to_vec(),
            Self::Slow => connect[..1].to_vec(),
            Self::Large => large(),
        };
        // Where there are too many of them the daemon may have closed it.
        stream.write_all(&sent).ok()?;
        Some(stream)
    }
}

/// Lets all of them come; those that stay do so until the end.
fn attack(bed: &Bed) -> Vec<TcpStream> {
    let staying = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for first in 0..THREADS {
            let staying = &staying;
            scope.spawn(move || {
                for n in (first..HOSTILE).step_by(THREADS) {
                    let stream = KINDS[n % KINDS.len()].begin(bed, n);
                    staying.lock().expect("nobody panics").extend(stream);
                    thread::sleep(APART);
                }
            });
        }
    });
    staying.into_inner().expect("nobody panics")
}

fn others_go_on(datapath: &str) -> Result<(), String> {
    let mut bed = Bed::new(Family::V4)?;
    bed.setup = bed
        .setup
        .listener(&format!("datapath = {datapath:?}"))
        .limits(r#"connect_timeout = "3s""#);
    let _echo = bed
        .topology
        .broker
        .run(|| Echo::start_at(bed.family.broker()));
    let daemon = bed.start();
    let clients = (0..TALKING).map(|n| bed.open(&format!("talk-{n}")));
    let talk = Talk::start(clients.collect());
    talk.until_all_answered();
    if datapath == "auto" {
        bed.until_spliced(TALKING);
    }
    let (resident, descriptors) = (
        daemon.process.resident_bytes(),
        daemon.process.descriptors(),
    );

    let staying = attack(&bed);
    talk.until_all_answered();
    let newcomer: Client =
        bed.introduce(Shape::default(), &Connect::new(Version::V3_1_1, "newcomer"));
    let grown = daemon.process.resident_bytes().saturating_sub(resident);
    assert!(grown < MEMORY, "the daemon grew by {grown}");

    drop((staying, newcomer));
    wait::until("nothing is left of it", || {
        daemon.process.descriptors() <= descriptors && daemon.connections() == TALKING as u64
    });
    talk.until_all_answered();
    assert_eq!(talk.end().len(), TALKING);
    Ok(())
}

#[test]
fn others_go_on_by_splice() {
    need!(others_go_on("auto"));
}

#[test]
fn others_go_on_by_copy() {
    need!(others_go_on("copy"));
}

/// Clients with a long CONNECT that never ends, and the bytes that each sends of it.
const LONG: usize = 200;
const SENT: usize = 60_000;
/// `limits.pending_bytes`, and how many of them it has room for: a buffer has all of the 64 KiB that a
/// CONNECT may have, the first 512 of which do not count.
const PENDING_BYTES: u64 = 1 << 20;
const KEPT: usize = 16;
/// What the daemon may need more for them; without a bound, their bytes alone are more.
const MEMORY_FOR_LONG: usize = 6 << 20;

fn admission(daemon: &Daemon, field: &str) -> u64 {
    let status = daemon.status();
    status["admission"][field].as_u64().expect("it is a number")
}

#[test]
fn long_connects_that_never_end_make_room_for_others() {
    let echo = Echo::start();
    let daemon = Setup::new()
        .backend("echo", echo.address)
        .limits(r#"pending_bytes = "1MiB""#)
        .limits(r#"connect_packet = "64KiB""#)
        .limits(r#"connect_timeout = "60s""#)
        .start();
    let resident = daemon.process.resident_bytes();
    let long = |n: usize| {
        let name = "x".repeat(SENT + 100);
        Connect::new(Version::V3_1_1, &format!("long-{n}")).user_name(&name)
    };
    let held = || {
        let held = admission(&daemon, "pending_bytes");
        assert!(held <= PENDING_BYTES, "{held}");
        held
    };

    let mut clients = Vec::new();
    for n in 0..LONG {
        let mut client = Client::dial(daemon.address());
        client.send(&long(n).bytes()[..SENT]);
        clients.push(client);
        if n % 20 == 0 {
            held();
        }
        // Threads that accept clients may do so in another order: the youngest come one by one.
        if n + 1 >= LONG - KEPT {
            wait::until("all that came are accepted", || {
                admission(&daemon, "pending") + daemon.refused("pending_bytes") == n as u64 + 1
            });
        }
    }
    wait::until("the oldest are gone", || {
        held();
        daemon.refused("pending_bytes") >= (LONG - KEPT) as u64
    });
    let grown = daemon.process.resident_bytes().saturating_sub(resident);
    assert!(grown < MEMORY_FOR_LONG, "the daemon grew by {grown}");
    assert_eq!(clients[0].rest(), b"");

    // An ordinary client needs no room, and one with a long CONNECT gets it.
    let refused = daemon.refused("pending_bytes");
    Client::open(
        daemon.address(),
        &Connect::new(Version::V5, "an ordinary one"),
    );
    assert_eq!(daemon.refused("pending_bytes"), refused);
    Client::open(daemon.address(), &long(LONG));
    // So do the youngest of those that seemed not to end.
    for (n, client) in clients.iter_mut().enumerate().skip(LONG - KEPT / 2) {
        client.send(&long(n).bytes()[SENT..]);
        let said = client.packet();
        assert_eq!(said, wire::connack(4, 0, &[]), "{n}: {}", daemon.status());
    }
    held();
    drop(clients);
    wait::until("nothing is held", || held() == 0);
}

#[test]
fn long_connects_that_wait_for_a_broker_have_a_bound_in_all() {
    // It reads and says nothing, until it is told to go.
    let asked = Arc::new(Mutex::new(Vec::new()));
    let all = Arc::clone(&asked);
    let silent = Broker::start(move |mut stream| {
        let copy = stream.try_clone().expect("there is a descriptor");
        all.lock().expect("nobody panics").push(copy);
        io::copy(&mut stream, &mut io::sink()).unwrap_or_default();
    });
    let daemon = Setup::new()
        .backend("silent", silent.address())
        .pool(r#"connack_timeout = "10m""#)
        .limits(r#"pending_bytes = "1MiB""#)
        .start();
    let name = "x".repeat(SENT);

    let clients: Vec<Client> = (0..LONG)
        .map(|n| {
            let connect = Connect::new(Version::V3_1_1, &format!("whole-{n}")).user_name(&name);
            let mut client = Client::dial(daemon.address());
            client.send(&connect.bytes());
            client
        })
        .collect();

    wait::until("there is room for no more", || {
        daemon.refused("pending_bytes") >= (LONG - KEPT) as u64
            && admission(&daemon, "pending") == 0
    });
    let held = admission(&daemon, "pending_bytes");
    assert!(
        (PENDING_BYTES / 2..=PENDING_BYTES).contains(&held),
        "{held}"
    );
    drop(clients);
    for stream in asked.lock().expect("nobody panics").drain(..) {
        // The daemon may have gone from it.
        stream.shutdown(Shutdown::Both).ok();
    }
    wait::until("nothing is held", || {
        admission(&daemon, "pending_bytes") == 0
    });
}
