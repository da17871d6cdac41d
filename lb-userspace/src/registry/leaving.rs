//! The connections that are leaving, and what the kernel half has told of each.
//!
//! Whoever reads its events tells them here, on another thread than the one that waits. It wakes
//! nobody for less than all that is waited for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lb_common::event::{
    EVENT_BROKER_ACKNOWLEDGED, EVENT_CLIENT_ACKNOWLEDGED, EVENT_CLOSED, EVENT_REPLACED, Event,
};
use lb_common::flow::is_after;
use tokio::sync::Notify;

/// All of them, by session.
#[derive(Debug, Default)]
pub struct Departures(Mutex<HashMap<u64, Arc<News>>>);

/// What is known of the legs of one of them.
#[derive(Debug)]
pub struct News {
    told: Mutex<Told>,
    enough: Notify,
}

#[derive(Debug)]
struct Told {
    /// The end of what client and broker have acknowledged.
    acknowledged: [u32; 2],
    /// What is waited for.
    until: Option<[u32; 2]>,
    is_closed: bool,
}

/// Entitled to news for as long as it lives.
#[derive(Debug)]
pub struct Watched {
    departures: Arc<Departures>,
    session: u64,
    pub news: Arc<News>,
}

impl Departures {
    /// Listens for news of a session of which so much is known.
    pub fn watch(self: &Arc<Self>, session: u64, acknowledged: [u32; 2]) -> Watched {
        let news = Arc::new(News {
            told: Mutex::new(Told {
                acknowledged,
                until: None,
                is_closed: false,
            }),
            enough: Notify::new(),
        });
        self.all().insert(session, Arc::clone(&news));
        Watched {
            departures: Arc::clone(self),
            session,
            news,
        }
    }

    pub fn has(&self, session: u64) -> bool {
        self.all().contains_key(&session)
    }

    /// Passes on what the kernel half tells; of no interest is who is not leaving.
    pub fn tell(&self, event: &Event) {
        let Some(news) = self.all().get(&event.session).map(Arc::clone) else {
            return;
        };
        match event.kind {
            EVENT_CLIENT_ACKNOWLEDGED => news.acknowledged(0, event.acknowledgment),
            EVENT_BROKER_ACKNOWLEDGED => news.acknowledged(1, event.acknowledgment),
            EVENT_CLOSED | EVENT_REPLACED => news.closed(),
            _ => {}
        }
    }

    fn all(&self) -> MutexGuard<'_, HashMap<u64, Arc<News>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.departures.all().remove(&self.session);
    }
}

impl News {
    /// A leg, 0 the client's and 1 the broker's, has acknowledged so much, if not more.
    pub fn acknowledged(&self, leg: usize, acknowledgment: u32) {
        let mut told = self.told();
        let before = &mut told.acknowledged[leg];
        if is_after(acknowledgment, *before) {
            *before = acknowledgment;
            self.wake(told);
        }
    }

    /// Nothing will be acknowledged any more.
    pub fn closed(&self) {
        let mut told = self.told();
        told.is_closed = true;
        self.wake(told);
    }

    fn wake(&self, told: MutexGuard<'_, Told>) {
        if told.is_enough() {
            drop(told);
            self.enough.notify_one();
        }
    }

    /// The legs that have not acknowledged everything up to `until`; none of a closed connection.
    pub fn missing(&self, until: [u32; 2]) -> Vec<usize> {
        let told = self.told();
        let is_missing = |leg: &usize| !told.is_closed && told.lacks(*leg, until);
        (0..2).filter(is_missing).collect()
    }

    /// Ends when both legs have acknowledged so much, or the connection is closed.
    pub async fn enough(&self, until: [u32; 2]) {
        self.told().until = Some(until);
        while !self.told().is_enough() {
            self.enough.notified().await;
        }
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Told {
    fn is_enough(&self) -> bool {
        let has_all = |until| !self.lacks(0, until) && !self.lacks(1, until);
        self.is_closed || self.until.is_some_and(has_all)
    }

    fn lacks(&self, leg: usize, until: [u32; 2]) -> bool {
        is_after(until[leg], self.acknowledged[leg])
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::sync::Arc;
    use std::task::{Context, Waker};

    use lb_common::event::{EVENT_CLIENT_ACKNOWLEDGED, EVENT_CLOSED, Event};
    use lb_common::flow::FlowKey;

    use super::Departures;

    fn is_ready(future: std::pin::Pin<&mut impl Future<Output = ()>>) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        future.poll(&mut context).is_ready()
    }

    fn event(session: u64, kind: u32, acknowledgment: u32) -> Event {
        Event {
            key: FlowKey {
                source: [0; 16],
                destination: [0; 16],
                source_port: 0,
                destination_port: 0,
            },
            kind,
            session,
            acknowledgment,
            reserved: 0,
        }
    }

    #[test]
    fn waits_until_both_legs_have_all() {
        let departures = Arc::new(Departures::default());
        // The client's numbers are about to wrap; the broker has acknowledged everything.
        let watched = departures.watch(7, [u32::MAX - 5, 90]);
        let mut enough = pin!(watched.news.enough([10, 90]));

        assert!(!is_ready(enough.as_mut()));
        departures.tell(&event(7, EVENT_CLIENT_ACKNOWLEDGED, 9));
        departures.tell(&event(8, EVENT_CLIENT_ACKNOWLEDGED, 10));
        assert!(!is_ready(enough.as_mut()));
        departures.tell(&event(7, EVENT_CLIENT_ACKNOWLEDGED, 10));

        assert!(is_ready(enough));
    }

    #[test]
    fn what_came_before_it_waits_is_not_missed() {
        let departures = Arc::new(Departures::default());
        let watched = departures.watch(7, [0, 0]);

        departures.tell(&event(7, EVENT_CLIENT_ACKNOWLEDGED, 10));

        assert_eq!(watched.news.missing([10, 1]), [1]);
        assert!(is_ready(pin!(watched.news.enough([10, 0]))));
    }

    #[test]
    fn of_a_closed_connection_nothing_is_expected() {
        let departures = Arc::new(Departures::default());
        let watched = departures.watch(7, [0, 0]);

        departures.tell(&event(7, EVENT_CLOSED, 0));

        assert!(watched.news.missing([1, 1]).is_empty());
        drop(watched);
        assert!(!departures.has(7));
    }
}
