//! Two members drawn by share; the one with less to do goes first.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use super::rendezvous::Rendezvous;
use super::{Eligible, Member};

#[derive(Debug)]
pub struct Random {
    /// A rendezvous with a number that nobody has used gives an order drawn by share.
    draw: Rendezvous,
    next: AtomicU64,
}

impl Random {
    pub(super) fn new(members: &[Member]) -> Self {
        Self {
            draw: Rendezvous::new(members),
            next: AtomicU64::new(RandomState::new().hash_one("sluice")),
        }
    }

    pub(super) fn order(&self, among: &[Eligible]) -> Vec<usize> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut order = self.draw.order(&number.to_le_bytes(), among);
        if let [first, second, ..] = order[..] {
            let load_of = |index| among.iter().find(|member| member.index == index);
            if let (Some(one), Some(two)) = (load_of(first), load_of(second))
                && two.cmp_load(one).is_lt()
            {
                order.swap(0, 1);
            }
        }
        order
    }
}

impl Clone for Random {
    fn clone(&self) -> Self {
        Self {
            draw: self.draw.clone(),
            next: AtomicU64::new(self.next.load(Ordering::Relaxed)),
        }
    }
}
