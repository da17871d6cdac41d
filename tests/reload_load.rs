//! A hundred reloads, with clients who come, and clients who talk on every path.

#![cfg(test)]

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use harness::bed::{Bed, COPY, Family};
use harness::client::Client;
use harness::daemon::Daemon;
use harness::echo::Echo;
use harness::talk::Talk;
use harness::{need, wait};

const RELOADS: usize = 100;
/// Between two clients who come.
const PAUSE: Duration = Duration::from_millis(20);
/// A listener whose connections take the sockmap path.
const SOCKMAP: &str = r#"
[[listeners]]
name = "sockmap"
bind = ["10.1.0.2:1886"]
pool = "brokers"
datapath = "sockmap"
"#;
const ON_SOCKMAP: u16 = 1886;
/// What comes and goes.
const EXTRA: &str = r#"
[[listeners]]
name = "extra"
bind = ["10.1.0.2:1885", "[fd01::2]:1885"]
pool = "other"

[[pools]]
name = "other"
dial_timeout = "1s"
[[pools.backends]]
name = "elsewhere"
address = "10.2.0.2:1999"
"#;

#[test]
fn a_hundred_reloads_disturb_nobody() {
    let mut bed = need!(Bed::new(Family::V4));
    bed.setup = bed.setup.more(COPY).more(SOCKMAP);
    let broker = bed.family.broker();
    let _echo = bed.topology.broker.run(|| Echo::start_at(broker));
    let daemon = bed.start();
    let mut clients: Vec<Client> = (0..40).map(|n| bed.open(&format!("spliced-{n}"))).collect();
    clients.extend((0..40).map(|n| bed.open_copied(&format!("copied-{n}"))));
    clients.extend((0..40).map(|n| bed.open_at(ON_SOCKMAP, &format!("moved-{n}"))));
    let talk = Talk::start(clients);
    talk.until_all_answered();
    wait::until("the spliced have left", || daemon.chosen("eligible") >= 40);
    assert_eq!(on_sockmap(&daemon), 40);
    let baseline = daemon.process.descriptors();
    let text = bed.setup.config();
    let other = text.replace("[limits]", "[limits]\nconnect_timeout = \"9s\"") + EXTRA;
    let other = other.replace("name = \"broker\"", "name = \"broker\"\nweight = 3");

    let is_over = AtomicBool::new(false);
    let came = AtomicUsize::new(0);
    thread::scope(|scope| {
        scope.spawn(|| come(&bed, &is_over, &came));
        // The other thread ends as well where this one panics.
        let _end = End(&is_over);
        for n in 0..RELOADS {
            let text = if n % 2 == 0 { &other } else { &text };
            bed.setup.write_text(text);
            let told = daemon.reload();
            assert!(told.contains("changes"), "{told}");
            if n % 10 == 0 {
                talk.until_all_answered();
            }
        }
    });

    talk.until_all_answered();
    assert!(
        came.load(Ordering::Relaxed) > 20,
        "clients have come meanwhile"
    );
    assert_eq!(talk.end().len(), 120);
    wait::until("no descriptor is left of it", || {
        daemon.process.descriptors() <= baseline
    });
    bed.until_forgotten();
    let status = daemon.status();
    assert_eq!(status["splice"]["aborted"], 0);
    assert_eq!(status["sockmap"]["aborted"], 0);
    assert!(on_sockmap(&daemon) > 45, "new ones take that path too");
    assert_eq!(status["backends"].as_array().map(Vec::len), Some(1));
    let entries = bed.setup.pins().dump("LISTENERS").len();
    assert_eq!(
        entries, 4,
        "listeners that are gone have gone from the table"
    );
}

/// Connections that have taken the sockmap path.
fn on_sockmap(daemon: &Daemon) -> u64 {
    let status = daemon.status();
    let choices = status["choices"].as_array().expect("there is a list");
    let theirs = choices.iter().filter(|choice| choice["path"] == "sockmap");
    theirs.filter_map(|choice| choice["count"].as_u64()).sum()
}

/// Clients come to all listeners and go; one that is turned away panics here.
fn come(bed: &Bed, is_over: &AtomicBool, came: &AtomicUsize) {
    let mut n = 0;
    while !is_over.load(Ordering::Relaxed) {
        let id = format!("new-{n}");
        drop(match n % 3 {
            0 => bed.open(&id),
            1 => bed.open_copied(&id),
            _ => bed.open_at(ON_SOCKMAP, &id),
        });
        n += 1;
        came.store(n, Ordering::Relaxed);
        thread::sleep(PAUSE);
    }
}

/// Sets what it has when it is dropped.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
