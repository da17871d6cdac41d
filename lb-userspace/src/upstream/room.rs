//! How many clients a backend may have, and how fast they come.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Backend;
use crate::config::Rate;

impl Backend {
    /// Counts a client in before it is connected, so that a crowd does not get past the limit.
    pub fn expect(self: &Arc<Self>) -> Option<Expected> {
        // Counted first: of two that come at once for the last place, both may be turned away, but
        // never are both let in.
        let expected = Expected(Arc::clone(self));
        self.opening.add_one();
        let is_over = self
            .most()
            .is_some_and(|most| self.taken() > most.get().into());
        (!is_over).then_some(expected)
    }

    pub(super) fn is_full(&self) -> bool {
        self.most()
            .is_some_and(|most| self.taken() >= most.get().into())
    }

    fn taken(&self) -> u64 {
        self.connections.value() + self.opening.value()
    }

    /// Clients at a time; `None` is no limit.
    pub fn most(&self) -> Option<NonZeroU32> {
        NonZeroU32::new(self.most.load(Ordering::Relaxed))
    }

    /// How many clients it may have, and how fast they come, from now on.
    pub fn limit(&self, most: Option<NonZeroU32>, rate: Option<Rate>) {
        let most = most.map_or(0, NonZeroU32::get);
        self.most.store(most, Ordering::Relaxed);
        self.gate.set_rate(rate);
    }
}

/// A client on its way to a backend; once it is a session it is counted there.
#[derive(Debug)]
pub struct Expected(Arc<Backend>);

impl Drop for Expected {
    fn drop(&mut self) {
        self.0.opening.sub_one();
    }
}
