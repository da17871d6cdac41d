//! Where threads wait for each other, and learn when one of them has failed.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::wait;

const PAUSE: Duration = Duration::from_millis(2);

/// Where two threads meet once.
#[derive(Debug, Default)]
pub struct Gate(AtomicUsize);

impl Gate {
    /// Waits for the other.
    pub fn meet(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
        wait::until("the other end gets there", || {
            self.0.load(Ordering::SeqCst) >= 2
        });
    }
}

/// Where any number of threads wait for the test, and the test for them.
#[derive(Debug, Default)]
pub struct Meeting {
    there: AtomicUsize,
    is_over: AtomicBool,
    has_failed: AtomicBool,
}

/// A thread that is expected; if it panics, the meeting fails.
#[derive(Debug)]
pub struct Guest<'a>(&'a Meeting);

impl Meeting {
    pub fn expect(&self) -> Guest<'_> {
        Guest(self)
    }

    /// Waits until so many guests are there.
    ///
    /// # Panics
    ///
    /// One has failed.
    pub fn gather(&self, guests: usize) {
        while self.there.load(Ordering::SeqCst) < guests {
            assert!(
                !self.has_failed.load(Ordering::SeqCst),
                "one of the ends has failed"
            );
            thread::sleep(PAUSE);
        }
    }

    /// Lets the guests go on.
    pub fn end(&self) {
        self.is_over.store(true, Ordering::SeqCst);
    }
}

impl Guest<'_> {
    /// Waits until the test has seen what it wants to see.
    pub fn attend(&self) {
        self.0.there.fetch_add(1, Ordering::SeqCst);
        while !self.0.is_over.load(Ordering::SeqCst) {
            assert!(
                !self.0.has_failed.load(Ordering::SeqCst),
                "one of the others has failed"
            );
            thread::sleep(PAUSE);
        }
    }
}

impl Drop for Guest<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.has_failed.store(true, Ordering::SeqCst);
        }
    }
}

impl Drop for Meeting {
    fn drop(&mut self) {
        debug_assert!(
            *self.is_over.get_mut() || thread::panicking(),
            "a meeting has an end"
        );
    }
}
