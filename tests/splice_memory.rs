//! Clients that push into brokers that do not read: nobody on the way stores what they send, and
//! others notice nothing.

#![cfg(test)]

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use harness::bed::{Bed, Family};
use harness::broker::{self, Broker};
use harness::client::Client;
use harness::namespace::Host;
use harness::shape::Shape;
use harness::talk::Talk;
use harness::wire::{Connect, Version};
use harness::{need, sockets};
use serde_json::Value;

/// Clients that push.
const PUSHING: usize = 100;
/// Clients that talk meanwhile.
const TALKING: usize = 20;
const ATTACK: Duration = Duration::from_secs(10);
/// A write that waits this long has another look whether the attack is over.
const HELD_BACK: Duration = Duration::from_millis(200);

/// What a socket of any of the hosts may hold in one direction; the kernel takes one segment of
/// 64 KiB more.
const BUFFER: usize = 256 << 10;
const BUFFERS: &str = "4096 65536 262144";
const SEGMENT: usize = 64 << 10;
/// Sockets between the program that sends and the one that does not read: its own, two of the
/// balancer, the broker's.
const SOCKETS: usize = 4;
/// What the daemon may hold of one connection: one read.
const READ: usize = 64 << 10;
/// What may wait on the sockmap path for a receiver, by `limits.sockmap_queue`.
const QUEUE: usize = 256 << 10;
/// What an allocator keeps beside it.
const SLACK: usize = 8 << 20;
/// What the whole machine may need more, whatever else it does: a fraction of what is pushed in ten
/// seconds if nobody holds it back.
const SLAB: usize = 512 << 20;

/// Answers those whose id begins with "talk", and never reads from the others.
fn serve(mut stream: TcpStream, has_ended: &AtomicBool) {
    let connect = broker::accept(&mut stream);
    if connect.windows(4).any(|text| text == b"talk") {
        let mut input = stream.try_clone().expect("descriptors can be copied");
        // It ends with its client.
        drop(std::io::copy(&mut input, &mut stream));
        return;
    }
    while !has_ended.load(Ordering::SeqCst) {
        thread::sleep(HELD_BACK);
    }
}

/// Writes without end.
fn push(client: &mut Client, has_ended: &AtomicBool, taken: &AtomicUsize) {
    client
        .0
        .set_write_timeout(Some(HELD_BACK))
        .expect("it is a socket");
    while !has_ended.load(Ordering::SeqCst) {
        match client.0.write(&[7; 1 << 16]) {
            Ok(count) => {
                taken.fetch_add(count, Ordering::SeqCst);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // The broker may be the first to end.
            Err(_) if has_ended.load(Ordering::SeqCst) => {}
            Err(error) => panic!("a client that pushes was cut off: {error}"),
        }
    }
}

/// Ends the attack for everybody, whether the test passes or not.
struct End(Arc<AtomicBool>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Memory of the kernel that it cannot take back, in bytes.
fn slab() -> usize {
    let text = fs::read_to_string("/proc/meminfo").expect("there is a kernel");
    let kib = text.lines().find_map(|line| {
        let number = line.strip_prefix("SUnreclaim:")?.strip_suffix("kB")?;
        number.trim().parse::<usize>().ok()
    });
    kib.expect("proc(5) tells SUnreclaim in kB") * 1024
}

fn limit_buffers(host: &Host) {
    for name in ["net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem"] {
        host.sysctl(name, BUFFERS);
    }
}

/// Attacks over the data path that `datapath` allows; all take the same `path`, and `because`.
fn attack(family: Family, datapath: &str, [path, because]: [&str; 2]) -> Result<(), String> {
    let mut bed = Bed::new(family)?;
    bed.setup = bed
        .setup
        .listener(&format!("datapath = {datapath:?}"))
        .limits(r#"sockmap_queue = "256KiB""#);
    for host in [
        &bed.topology.client,
        &bed.topology.balancer,
        &bed.topology.broker,
    ] {
        limit_buffers(host);
    }
    let has_ended = Arc::new(AtomicBool::new(false));
    let listener = bed
        .topology
        .broker
        .run(|| Shape::default().listen(family.broker()));
    let ended = Arc::clone(&has_ended);
    let _broker = Broker::start_on(listener, move |stream| serve(stream, &ended));
    let daemon = bed.start();
    let talk = Talk::start(
        (0..TALKING)
            .map(|n| bed.open(&format!("talk-{n}")))
            .collect(),
    );
    talk.until_all_answered();
    let (resident, in_kernel) = (daemon.process.resident_bytes(), slab());
    let taken = AtomicUsize::new(0);

    thread::scope(|scope| {
        let _end = End(Arc::clone(&has_ended));
        for n in 0..PUSHING {
            let mut client = bed.dial(Shape::default());
            // It pushes from the first byte on.
            client.send(&Connect::new(Version::V5, &format!("push-{n}")).bytes());
            let (has_ended, taken) = (&has_ended, &taken);
            scope.spawn(move || push(&mut client, has_ended, taken));
        }
        thread::sleep(ATTACK);

        talk.until_all_answered();
        let grown = daemon.process.resident_bytes().saturating_sub(resident);
        assert!(grown < PUSHING * READ + SLACK, "the daemon grew by {grown}");
        let stored = usize::try_from(bed.topology.balancer.run(sockets::stored)).expect("it fits");
        let room = 2 * PUSHING * (2 * BUFFER + SEGMENT + QUEUE);
        assert!(stored < room, "sockets of the balancer hold {stored}");
        let grown = slab().saturating_sub(in_kernel);
        assert!(grown < SLAB, "the kernel grew by {grown}");
        let taken = taken.load(Ordering::SeqCst);
        let room = PUSHING * (SOCKETS * (BUFFER + SEGMENT) + READ + QUEUE);
        assert!(taken < room, "{taken} of {room} bytes are stored somewhere");
        let status = daemon.status();
        assert_eq!(status["splice"]["aborted"], 0, "{status}");
        let choices = status["choices"].as_array().expect("there is a list");
        let one = |choice: &&Value| choice["because"] == because && choice["path"] == path;
        let chosen = choices.iter().find(one).expect("the reason is listed");
        assert_eq!(chosen["count"], PUSHING + TALKING, "{status}");
    });
    drop(talk.end());
    bed.until_forgotten();
    Ok(())
}

#[test]
fn what_brokers_do_not_read_stays_with_clients_on_splice() {
    for family in Family::BOTH {
        need!(attack(family, "auto", ["splice", "eligible"]));
    }
}

#[test]
fn what_brokers_do_not_read_stays_with_clients_on_copy() {
    for family in Family::BOTH {
        need!(attack(family, "copy", ["copy", "configured"]));
    }
}

#[test]
fn what_brokers_do_not_read_stays_with_clients_on_sockmap() {
    for family in Family::BOTH {
        need!(attack(family, "sockmap", ["sockmap", "configured"]));
    }
}
