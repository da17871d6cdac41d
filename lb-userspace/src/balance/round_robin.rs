//! Turns by weight, spread evenly: a a b a, not a a a b.
//!
//! At each turn every member gains its weight, the richest is chosen and pays the sum of all.

use std::sync::{Mutex, PoisonError};

use super::Member;

#[derive(Debug)]
pub struct RoundRobin {
    weights: Vec<i64>,
    credits: Mutex<Vec<i64>>,
}

impl RoundRobin {
    pub(super) fn new(members: &[Member]) -> Self {
        Self {
            weights: members.iter().map(|member| member.weight.into()).collect(),
            credits: Mutex::new(vec![0; members.len()]),
        }
    }

    /// The member whose turn it is, then the others in the order of the file.
    pub(super) fn order(&self) -> Vec<usize> {
        let first = self.turn();
        let count = self.weights.len();
        (0..count).map(|n| (first + n) % count).collect()
    }

    fn turn(&self) -> usize {
        let mut credits = self.credits.lock().unwrap_or_else(PoisonError::into_inner);
        for (credit, weight) in credits.iter_mut().zip(&self.weights) {
            *credit += weight;
        }
        let richest = (0..credits.len())
            .rev()
            .max_by_key(|member| credits[*member])
            .unwrap_or(0);
        credits[richest] -= self.weights.iter().sum::<i64>();
        richest
    }
}

#[cfg(test)]
mod tests {
    use super::super::Member;
    use super::RoundRobin;

    fn round_robin(weights: &[u16]) -> RoundRobin {
        let member = |weight: &u16| Member {
            name: String::new(),
            weight: *weight,
        };
        RoundRobin::new(&weights.iter().map(member).collect::<Vec<_>>())
    }

    #[test]
    fn spreads_the_turns_of_a_heavy_member() {
        let round_robin = round_robin(&[5, 1, 1]);

        let turns: Vec<usize> = (0..7).map(|_| round_robin.order()[0]).collect();

        assert_eq!(turns, [0, 0, 1, 0, 2, 0, 0]);
    }

    #[test]
    fn names_every_member_once() {
        let round_robin = round_robin(&[1, 1, 1]);

        assert_eq!(round_robin.order(), [0, 1, 2]);
        assert_eq!(round_robin.order(), [1, 2, 0]);
        assert_eq!(round_robin.order(), [2, 0, 1]);
    }
}
