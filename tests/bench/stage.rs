//! The stages of one measurement, and what was seen in it.

use std::io;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::cpu::{Snapshot, Spent};
use crate::histogram::Histogram;

const WARMING_UP: u8 = 0;
const MEASURING: u8 = 1;
const OVER: u8 = 2;

const LOOK: Duration = Duration::from_millis(2);

/// How far a measurement is, for all threads.
pub(crate) struct Stage(AtomicU8);

/// When it began and ended, and what it took.
pub(crate) struct Interval {
    length: Duration,
    spent: Spent,
}

impl Stage {
    pub(crate) fn new() -> Self {
        Self(AtomicU8::new(WARMING_UP))
    }

    pub(crate) fn is_measuring(&self) -> bool {
        self.0.load(Ordering::Relaxed) == MEASURING
    }

    pub(crate) fn is_over(&self) -> bool {
        self.0.load(Ordering::Relaxed) == OVER
    }

    /// Ends the measurement for all threads, also when it ends early.
    pub(crate) fn end(&self) {
        self.0.store(OVER, Ordering::Relaxed);
    }

    /// Leads through the stages.
    pub(crate) fn conduct(&self, warm_up: Duration, measure: Duration) -> io::Result<Interval> {
        thread::sleep(warm_up);
        let before = Snapshot::take()?;
        let start = Instant::now();
        self.0.store(MEASURING, Ordering::Relaxed);
        while start.elapsed() < measure && !self.is_over() {
            thread::sleep(LOOK.min(measure.saturating_sub(start.elapsed())));
        }
        self.end();
        let length = start.elapsed();
        let spent = before.until(&Snapshot::take()?);
        Ok(Interval { length, spent })
    }
}

impl Interval {
    /// One line for the runner of the benchmark.
    pub(crate) fn report(&self, seen: &Histogram, silent: usize) -> Value {
        let microseconds = |share| seen.per_mille(share).as_secs_f64() * 1e6;
        json!({
            "count": seen.count(),
            "seconds": self.length.as_secs_f64(),
            "p50_us": microseconds(500),
            "p99_us": microseconds(990),
            "p999_us": microseconds(999),
            "cpu_seconds": self.spent.busy.as_secs_f64(),
            "other_cpu_seconds": self.spent.others.as_secs_f64(),
            "stolen_seconds": self.spent.stolen.as_secs_f64(),
            "silent_connections": silent,
        })
    }
}
