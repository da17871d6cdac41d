//! Stop taking, let go, wait: how every task of the daemon ends.

use std::future::Future;
use std::pin::Pin;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The steps of a stop, for all threads; each is taken once.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    /// Nobody is accepted any more.
    pub accepting: CancellationToken,
    /// Nobody is waited for who has not said who they are.
    pub identifying: CancellationToken,
    /// Nobody is brought to a broker any more.
    pub opening: CancellationToken,
    /// Nobody's bytes are carried any more. Sessions that are listed hear it from
    /// [`Sessions::stop`](crate::registry::carried::Sessions::stop), and need not look.
    pub carrying: CancellationToken,
}

/// What a task leaves to do.
pub type Rest = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Spawns the tasks of one thread and waits for them; a stop reaches all threads.
#[derive(Debug, Clone)]
pub struct Tasks {
    tracker: TaskTracker,
    stop: Stop,
}

impl Tasks {
    pub fn new(stop: Stop) -> Self {
        Self {
            tracker: TaskTracker::new(),
            stop,
        }
    }

    /// Runs `task` to its end, or until a stop begins.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.accepting.clone();
        self.tracker.spawn(async move {
            stop.run_until_cancelled(task).await;
        });
    }

    /// Runs `task` to its end, which it comes to by itself when a stop begins.
    pub fn spawn_to_end(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tracker.spawn(task);
    }

    /// Runs `task` to its end or until nobody is brought to a broker any more; what it leaves to do is
    /// done in any case.
    pub fn spawn_with_end(&self, task: impl Future<Output = Option<Rest>> + Send + 'static) {
        let stop = self.stop.opening.clone();
        // In memory of its own, which is given back before the rest begins.
        let begun = Box::pin(async move { stop.run_until_cancelled(task).await });
        self.tracker.spawn(async move {
            if let Some(rest) = begun.await.flatten() {
                rest.await;
            }
        });
    }

    /// Ends when a stop begins.
    pub async fn stopped(&self) {
        self.stop.accepting.cancelled().await;
    }

    /// Ends when no task is left; to be called after the last `spawn`.
    pub async fn finished(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }
}
