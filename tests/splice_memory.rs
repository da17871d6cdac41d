//! Clients that push into brokers that do not read: neither the daemon nor its host stores it.

#![cfg(test)]

use std::io::{ErrorKind, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use harness::bed::{Bed, Family};
use harness::broker::{self, Broker};
use harness::client::Client;
use harness::need;
use harness::shape::Shape;
use harness::talk::Talk;
use harness::wait;
use harness::wire::{Connect, Version};

/// Clients that push.
const PUSHING: usize = 100;
/// Clients that talk meanwhile.
const TALKING: usize = 20;
/// A write that waits this long is held back.
const HELD_BACK: Duration = Duration::from_millis(500);
/// A client is stalled when it was held back so often in a row: five seconds.
const STALLED: usize = 10;
/// What the daemon may need more: far less than one window for each client.
const GROWTH: usize = 4 << 20;

/// Accepts everybody, answers those whose id begins with "talk" and never reads from the others.
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

/// Writes without end; tells when nothing was taken any more for five seconds.
fn push(mut client: Client, has_ended: &AtomicBool, stalled: &AtomicUsize) {
    let (mut held_back, mut is_counted) = (0, false);
    client.0.set_write_timeout(Some(HELD_BACK)).expect("it is a socket");
    while !has_ended.load(Ordering::SeqCst) {
        match client.0.write(&[7; 1 << 16]) {
            Ok(_) => held_back = 0,
            Err(error) if error.kind() == ErrorKind::WouldBlock => held_back += 1,
            Err(error) => panic!("a client that pushes was cut off: {error}"),
        }
        if held_back >= STALLED && !std::mem::replace(&mut is_counted, true) {
            stalled.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// Ends the test for everybody, whether it passes or not.
struct End(Arc<AtomicBool>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn what_brokers_do_not_read_stays_with_clients() {
    for family in Family::BOTH {
        let bed = need!(Bed::new(family));
        let has_ended = Arc::new(AtomicBool::new(false));
        let stalled = AtomicUsize::new(0);
        let listener = bed.topology.broker.run(|| Shape::default().listen(family.broker()));
        let ended = Arc::clone(&has_ended);
        let _broker = Broker::start_on(listener, move |stream| serve(stream, &ended));
        let daemon = bed.start();
        let talk = Talk::start((0..TALKING).map(|n| bed.open(&format!("talk-{n}"))).collect());
        bed.until_spliced(TALKING);
        let before = daemon.process.resident_bytes();

        thread::scope(|scope| {
            let _end = End(Arc::clone(&has_ended));
            for n in 0..PUSHING {
                let mut client = bed.dial(Shape::default());
                // It pushes from the first byte on.
                client.send(&Connect::new(Version::V5, &format!("push-{n}")).bytes());
                let (has_ended, stalled) = (&has_ended, &stalled);
                scope.spawn(move || push(client, has_ended, stalled));
            }
            let t = std::time::Instant::now();
            wait::until("every client is held back", || {
                if t.elapsed().as_millis() % 2000 < 20 { eprintln!("{:?} stalled {} {} LEAVING {} FLOWS {} accepted {} conns {} refused {}", t.elapsed(), stalled.load(Ordering::SeqCst), daemon.status()["choices"][0], bed.setup.pins().dump("LEAVING").len(), bed.setup.pins().dump("FLOWS").len(), daemon.status()["listeners"][0]["accepted"], daemon.connections(), daemon.status()["refused"]); let o = bed.topology.balancer.run(|| std::process::Command::new("ss").args(["-tanOi"]).output().unwrap()); eprintln!("{}", String::from_utf8_lossy(&o.stdout).lines().skip(1).take(8).collect::<Vec<_>>().join("\n")); }
                stalled.load(Ordering::SeqCst) >= PUSHING
            });
            bed.until_spliced(TALKING + PUSHING);
            talk.until_all_answered();
            let growth = daemon.process.resident_bytes().saturating_sub(before);

            assert!(growth < GROWTH, "the daemon grew by {growth} bytes");
            assert_eq!(daemon.status()["splice"]["aborted"], 0);
        });
        drop(talk.end());
        bed.until_forgotten();
    }
}
