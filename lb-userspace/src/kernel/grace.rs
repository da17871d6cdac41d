//! Waiting until every packet that was on its way up the stack has arrived.
//!
//! A packet looks for its flow once. One that looked before the flow was there goes on to a socket,
//! and must get there before that socket is closed. Both happen inside one read-side section of
//! RCU, so after a grace period none is left. One thread waits for all who ask meanwhile.

use std::io;
use std::thread;

use tokio::sync::{mpsc, oneshot};

use crate::sys;

/// Where to ask for a grace period.
#[derive(Debug)]
pub struct Grace(mpsc::UnboundedSender<oneshot::Sender<()>>);

impl Grace {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// The kernel does not offer the call, or gives no thread.
    pub fn start() -> io::Result<Self> {
        sys::synchronize_rcu()?;
        let (asked, mut asking) = mpsc::unbounded_channel::<oneshot::Sender<()>>();
        thread::Builder::new()
            .name("grace".to_owned())
            .spawn(move || {
                while let Some(first) = asking.blocking_recv() {
                    let mut waiting = vec![first];
                    while let Ok(next) = asking.try_recv() {
                        waiting.push(next);
                    }
                    if let Err(error) = sys::synchronize_rcu() {
                        // Those who wait see that nobody answers, and abort.
                        tracing::error!(%error, "no grace period");
                        return;
                    }
                    for one in waiting {
                        // One who has gone needs no answer.
                        one.send(()).unwrap_or_default();
                    }
                }
            })?;
        Ok(Self(asked))
    }

    /// Ends after a whole grace period.
    ///
    /// # Errors
    ///
    /// The thread has ended.
    pub async fn period(&self) -> io::Result<()> {
        let (done, waiting) = oneshot::channel();
        if self.0.send(done).is_err() {
            return Err(io::Error::other("no thread waits for grace periods"));
        }
        waiting.await.map_err(io::Error::other)
    }
}
