//! Turns by share, spread evenly: a a b a, not a a a b.
//!
//! At each turn every member gains its share, the richest is chosen and pays the sum of all.

use std::cmp::Reverse;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Eligible;

#[derive(Debug)]
pub struct RoundRobin {
    /// Of each member, those that now have no share included.
    credits: Mutex<Vec<i64>>,
}

impl RoundRobin {
    pub(super) fn new(members: usize) -> Self {
        Self {
            credits: Mutex::new(vec![0; members]),
        }
    }

    /// The member whose turn it is, then the others as their turns would come.
    pub(super) fn order(&self, among: &[Eligible]) -> Vec<usize> {
        let mut credits = self.credits();
        for member in among {
            credits[member.index] += i64::from(member.share);
        }
        let mut order: Vec<usize> = among.iter().map(|member| member.index).collect();
        order.sort_by_key(|index| Reverse(credits[*index]));
        if let Some(first) = order.first() {
            credits[*first] -= among.iter().map(|one| i64::from(one.share)).sum::<i64>();
        }
        order
    }

    fn credits(&self) -> MutexGuard<'_, Vec<i64>> {
        self.credits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clone for RoundRobin {
    fn clone(&self) -> Self {
        Self {
            credits: Mutex::new(self.credits().clone()),
        }
    }
}
