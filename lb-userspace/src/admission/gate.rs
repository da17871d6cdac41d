//! A gate that lets CONNECTs through at a rate, in the order in which they come.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{self, Instant};

use super::bucket::Bucket;
use crate::config::Rate;

/// The most that wait in front of one gate, however fast it is.
const MOST: u64 = 65_536;

/// No more wait than will have their turn in time: whoever waits does not wait in vain, and whoever
/// would is told at once.
#[derive(Debug)]
pub struct Gate {
    /// None where there is no limit.
    bucket: Mutex<Option<Bucket>>,
    /// The place at the head of the queue, which is first come, first served.
    head: Semaphore,
    waiting: AtomicUsize,
    origin: Instant,
}

/// What a CONNECT got through with.
#[derive(Debug)]
pub struct Token<'a>(&'a Gate);

/// It would have to wait too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crowded;

impl Default for Gate {
    fn default() -> Self {
        Self {
            bucket: Mutex::default(),
            head: Semaphore::new(1),
            waiting: AtomicUsize::default(),
            origin: Instant::now(),
        }
    }
}

impl Gate {
    /// How fast, from now on; those who wait keep their places.
    pub fn set_rate(&self, rate: Option<Rate>) {
        let now = self.origin.elapsed();
        let mut bucket = self.bucket();
        *bucket = rate.map(|rate| {
            let new = Bucket::new(rate);
            bucket.as_ref().map_or(new, |old| new.after(old, now))
        });
    }

    /// Waits for its turn, for at most `patience`.
    ///
    /// # Errors
    ///
    /// Too many are before it, or its turn did not come in time.
    pub async fn pass(&self, patience: Duration) -> Result<Token<'_>, Crowded> {
        if let Ok(_head) = self.head.try_acquire()
            && self.take().is_ok()
        {
            return Ok(Token(self));
        }
        let _place = self.join(patience)?;
        match time::timeout(patience, self.turn()).await {
            Ok(()) => Ok(Token(self)),
            Err(_) => Err(Crowded),
        }
    }

    /// How many wait now.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    async fn turn(&self) {
        // The semaphore is never closed.
        let _head = self.head.acquire().await;
        while let Err(next) = self.take() {
            time::sleep_until(self.origin + next).await;
        }
    }

    fn take(&self) -> Result<(), Duration> {
        let now = self.origin.elapsed();
        match &mut *self.bucket() {
            Some(bucket) => bucket.take(now),
            None => Ok(()),
        }
    }

    fn join(&self, patience: Duration) -> Result<Place<'_>, Crowded> {
        let served = self.bucket().map_or(MOST, |bucket| bucket.within(patience));
        let room = usize::try_from(served.min(MOST)).unwrap_or(usize::MAX);
        let place = Place(self);
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= room {
            return Err(Crowded);
        }
        Ok(place)
    }

    fn bucket(&self) -> MutexGuard<'_, Option<Bucket>> {
        self.bucket.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Token<'_> {
    /// Nothing was sent: the next one may go instead.
    pub fn give_back(self) {
        if let Some(bucket) = &mut *self.0.bucket() {
            bucket.give_back();
        }
    }
}

/// A place in the queue; given back when dropped.
struct Place<'a>(&'a Gate);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use tokio::task::JoinSet;
    use tokio::time::{self, Instant};

    use super::{Crowded, Gate};
    use crate::config::Rate;

    const PATIENCE: Duration = Duration::from_secs(2);

    fn gate(a_second: u32) -> Arc<Gate> {
        let gate = Gate::default();
        gate.set_rate(NonZeroU32::new(a_second).map(|count| Rate {
            count,
            per: Duration::from_secs(1),
        }));
        Arc::new(gate)
    }

    #[tokio::test(start_paused = true)]
    async fn lets_everybody_through_where_there_is_no_rate() {
        let gate = gate(0);

        for _ in 0..1_000 {
            assert!(gate.pass(Duration::ZERO).await.is_ok());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn lets_through_at_its_rate_and_in_order() {
        let gate = gate(10);
        let (begin, order) = (Instant::now(), Arc::new(Mutex::new(Vec::new())));
        let mut tasks = JoinSet::new();
        for n in 0..40 {
            let (gate, order) = (Arc::clone(&gate), Arc::clone(&order));
            tasks.spawn(async move {
                let passed = gate.pass(PATIENCE).await.is_ok();
                if passed {
                    order.lock().unwrap().push(n);
                }
                passed
            });
        }

        let passed = tasks.join_all().await;

        // One token is there, twenty come within two seconds, and nineteen are told at once.
        assert_eq!(passed.iter().filter(|passed| **passed).count(), 21);
        assert_eq!(*order.lock().unwrap(), (0..21).collect::<Vec<_>>());
        let took = begin.elapsed();
        assert!(took >= PATIENCE && took < PATIENCE + Duration::from_millis(50));
        assert_eq!(gate.waiting(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_would_wait_too_long_is_told_at_once() {
        let gate = gate(1);
        assert!(gate.pass(PATIENCE).await.is_ok());
        let begin = Instant::now();

        let refused = gate.pass(Duration::from_millis(900)).await.err();

        assert_eq!(refused, Some(Crowded));
        assert_eq!(begin.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_leaves_the_queue_takes_no_token() {
        let gate = gate(1);
        assert!(gate.pass(PATIENCE).await.is_ok());
        let begin = Instant::now();
        {
            let leaves = time::timeout(Duration::from_millis(100), gate.pass(PATIENCE));
            assert!(leaves.await.is_err());
        }

        assert!(gate.pass(PATIENCE).await.is_ok());

        let took = begin.elapsed();
        assert!(took >= Duration::from_secs(1) && took < Duration::from_millis(1_100));
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_that_comes_back_goes_to_the_next() {
        let gate = gate(1);
        let token = gate.pass(PATIENCE).await.unwrap();
        token.give_back();
        let begin = Instant::now();

        assert!(gate.pass(PATIENCE).await.is_ok());

        assert_eq!(begin.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_wait_go_on_when_the_limit_is_lifted() {
        let gate = gate(1);
        assert!(gate.pass(PATIENCE).await.is_ok());
        let waiter = {
            let gate = Arc::clone(&gate);
            async move { gate.pass(PATIENCE).await.is_ok() }
        };
        let lift = async {
            time::sleep(Duration::from_millis(10)).await;
            gate.set_rate(None);
        };

        let (passed, ()) = tokio::join!(waiter, lift);

        assert!(passed);
        assert!(gate.pass(Duration::ZERO).await.is_ok());
    }
}
