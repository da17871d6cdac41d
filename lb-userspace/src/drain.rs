//! Stop taking, let go, wait: how every task of the daemon ends.

use std::future::Future;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Spawns the tasks of one thread and waits for them; a stop reaches all threads.
#[derive(Debug, Clone)]
pub struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Tasks {
    pub fn new(stop: CancellationToken) -> Self {
        Self {
            tracker: TaskTracker::new(),
            stop,
        }
    }

    /// Runs `task` to its end, or until everything stops.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.tracker.spawn(async move {
            stop.run_until_cancelled(task).await;
        });
    }

    /// Runs `task` to its end or until everything stops; what it leaves to do is done in any case.
    pub fn spawn_with_end<T: Send, F>(
        &self,
        task: impl Future<Output = Option<T>> + Send + 'static,
        end: impl FnOnce(T) -> F + Send + 'static,
    ) where
        F: Future<Output = ()> + Send,
    {
        let stop = self.stop.clone();
        self.tracker.spawn(async move {
            if let Some(left) = stop.run_until_cancelled(task).await.flatten() {
                end(left).await;
            }
        });
    }

    /// Ends when everything stops.
    pub async fn stopped(&self) {
        self.stop.cancelled().await;
    }

    /// Ends when no task is left; to be called after the last `spawn`.
    pub async fn finished(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }
}
