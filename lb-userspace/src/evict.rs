//! Ending connections that could go on: whose, why and how fast; `daemon::evict` does it.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

pub mod pace;
pub mod rank;
pub mod share;

use crate::counters::Counter;
use crate::upstream::{Backend, Pool};

/// Connections of a backend that are to end, at a pace.
#[derive(Debug, Clone)]
pub struct Order {
    pub backend: Arc<Backend>,
    pub because: Because,
    pub whom: Whom,
    /// Connections a second.
    pub pace: NonZeroU32,
    /// How long it may take from now: where `pace` would not do, it is exceeded.
    pub within: Option<Duration>,
}

/// Which connections of a backend are to end.
///
/// Where they may come back to the same backend, only sessions with a number below `before` are
/// meant, so that nobody is sent away twice.
#[derive(Debug, Clone)]
pub enum Whom {
    /// Those it has and those it gets, until the order is cancelled.
    All,
    /// So many at most, and none once the backend has only `keep`.
    Excess { most: u64, keep: u64, before: u64 },
    /// Those that belong to another backend of the pool.
    Strays { pool: Arc<Pool>, before: u64 },
}

impl Whom {
    /// Whether a session with this number may be meant.
    pub fn may_be(&self, session: u64) -> bool {
        match self {
            Self::All => true,
            Self::Excess { before, .. } | Self::Strays { before, .. } => session < *before,
        }
    }
}

/// Why connections are ended that could go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Because {
    /// The broker does not answer any more.
    Dead,
    /// The operator wants the backend without clients.
    Drained,
    /// The backend has more than its share.
    Rebalanced,
}

impl Because {
    pub const ALL: [Self; 3] = [Self::Dead, Self::Drained, Self::Rebalanced];

    pub fn label(self) -> &'static str {
        match self {
            Self::Dead => "dead",
            Self::Drained => "drained",
            Self::Rebalanced => "rebalanced",
        }
    }
}

/// The orders that stand, and what came of them.
#[derive(Debug, Default)]
pub struct Evictions {
    orders: Mutex<Vec<Arc<Order>>>,
    changed: Notify,
    evicted: [Counter; Because::ALL.len()],
}

impl Evictions {
    /// Takes the place of an earlier order for the same backend and reason.
    pub fn order(&self, order: Order) {
        let mut orders = self.lock();
        orders.retain(|other| !is_same(other, order.backend.number, order.because));
        orders.push(Arc::new(order));
        drop(orders);
        self.changed.notify_one();
    }

    /// Connections that have not ended yet stay; tells whether there was such an order.
    pub fn cancel(&self, backend: &Backend, because: Because) -> bool {
        let mut orders = self.lock();
        let before = orders.len();
        orders.retain(|order| !is_same(order, backend.number, because));
        let has_changed = orders.len() != before;
        drop(orders);
        self.changed.notify_one();
        has_changed
    }

    /// Forgets an order that has been carried out, unless another has taken its place.
    pub fn finish(&self, done: &Arc<Order>) {
        self.lock().retain(|order| !Arc::ptr_eq(order, done));
    }

    /// The orders that stand now.
    pub fn standing(&self) -> Vec<Arc<Order>> {
        self.lock().clone()
    }

    /// Ends when there has been an order, or one has been cancelled, since the last call.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    pub fn count(&self, because: Because) {
        self.evicted[because as usize].add(1);
    }

    /// Connections that were told to end since the daemon started.
    pub fn each(&self) -> impl Iterator<Item = (Because, u64)> {
        Because::ALL
            .into_iter()
            .map(|because| (because, self.evicted[because as usize].value()))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Order>>> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_same(order: &Order, backend: u32, because: Because) -> bool {
    order.backend.number == backend && order.because == because
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::sync::Arc;

    use super::{Because, Evictions, Order, Whom};
    use crate::upstream::Backend;

    fn order(number: u32, because: Because, pace: u32) -> Order {
        let address = "10.0.0.1:1883".parse().unwrap();
        Order {
            backend: Arc::new(Backend::new(number, "a", address, 1)),
            because,
            whom: Whom::All,
            pace: NonZeroU32::new(pace).unwrap(),
            within: None,
        }
    }

    #[test]
    fn a_later_order_takes_the_place_of_one_for_the_same_reason_only() {
        let evictions = Evictions::default();
        evictions.order(order(1, Because::Drained, 10));
        evictions.order(order(1, Because::Dead, 20));
        evictions.order(order(1, Because::Drained, 30));

        let paces: Vec<u32> = evictions.standing().iter().map(|o| o.pace.get()).collect();

        assert_eq!(paces, [20, 30]);
    }

    #[test]
    fn cancels_for_one_backend_and_reason() {
        let evictions = Evictions::default();
        evictions.order(order(1, Because::Drained, 10));
        evictions.order(order(2, Because::Drained, 10));

        let drained = order(1, Because::Drained, 10);
        assert!(evictions.cancel(&drained.backend, Because::Drained));
        assert!(!evictions.cancel(&drained.backend, Because::Drained));

        assert_eq!(evictions.standing().len(), 1);
        assert_eq!(evictions.standing()[0].backend.number, 2);
    }

    #[test]
    fn an_order_that_was_replaced_cannot_finish_its_successor() {
        let evictions = Evictions::default();
        evictions.order(order(1, Because::Rebalanced, 10));
        let first = Arc::clone(&evictions.standing()[0]);
        evictions.order(order(1, Because::Rebalanced, 20));

        evictions.finish(&first);
        assert_eq!(evictions.standing().len(), 1);
        evictions.finish(&Arc::clone(&evictions.standing()[0]));
        assert!(evictions.standing().is_empty());
    }
}
