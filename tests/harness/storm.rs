//! Clients who come all the time, and are all to be served.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::wait;

/// Threads that share the coming.
const THREADS: usize = 4;

/// Clients who come, are accepted, and go.
#[derive(Debug)]
pub struct Storm {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    is_over: AtomicBool,
    came: AtomicUsize,
}

impl Storm {
    /// Lets up to `rate` of them come in a second; `come` panics where one is not accepted.
    pub fn start(rate: u32, come: impl Fn(&str) + Send + Sync + 'static) -> Self {
        let shared = Arc::<Shared>::default();
        let come = Arc::new(come);
        let pause = Duration::from_secs(u64::try_from(THREADS).expect("it is small")) / rate;
        let one = |_| {
            let (shared, come) = (Arc::clone(&shared), Arc::clone(&come));
            thread::spawn(move || {
                while !shared.is_over.load(Ordering::Relaxed) {
                    let n = shared.came.fetch_add(1, Ordering::Relaxed);
                    come(&format!("storm-{n}"));
                    thread::sleep(pause);
                }
            })
        };
        let threads = (0..THREADS).map(one).collect();
        Self { shared, threads }
    }

    /// Waits until so many more have come.
    pub fn until_more(&self, count: usize) {
        let enough = self.shared.came.load(Ordering::Relaxed) + count;
        wait::until("more clients have come", || {
            assert!(
                !self.threads.iter().any(JoinHandle::is_finished),
                "a client was not accepted"
            );
            self.shared.came.load(Ordering::Relaxed) >= enough
        });
    }

    /// Lets those who have begun come through; how many have come.
    ///
    /// # Panics
    ///
    /// One of them was not accepted.
    pub fn end(mut self) -> usize {
        self.shared.is_over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().expect("everybody is accepted");
        }
        self.shared.came.load(Ordering::Relaxed)
    }
}

impl Drop for Storm {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
    }
}
