//! Consistent hashing: an id goes where its score is highest, so a change moves only what it must.
//!
//! Weighted rendezvous hashing (Schindelhauer and Schomaker, "Weighted distributed hash tables",
//! 2005). Every node with the same names and weights gives the same answer, without any table.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{Eligible, Member};

#[derive(Debug, Clone)]
pub struct Rendezvous {
    seeds: Vec<u64>,
}

impl Rendezvous {
    pub(super) fn new(members: &[Member]) -> Self {
        Self {
            seeds: members.iter().map(|member| seed(&member.name)).collect(),
        }
    }

    /// Adds a member behind the others.
    pub(super) fn push(&mut self, name: &str) {
        self.seeds.push(seed(name));
    }

    pub(super) fn order(&self, key: &[u8], among: &[Eligible]) -> Vec<usize> {
        let score = |member: &Eligible| {
            let hash = xxh3_64_with_seed(key, self.seeds[member.index]);
            (-f64::from(member.share) / unit(hash).ln(), member.index)
        };
        let mut scores: Vec<(f64, usize)> = among.iter().map(score).collect();
        scores.sort_by(|(a, _), (b, _)| b.total_cmp(a));
        scores.into_iter().map(|(_, index)| index).collect()
    }
}

fn seed(name: &str) -> u64 {
    xxh3_64_with_seed(name.as_bytes(), 0)
}

/// A hash as a number between 0 and 1, both excluded.
fn unit(hash: u64) -> f64 {
    const STEPS: f64 = (1_u64 << 52) as f64;
    #[expect(clippy::cast_precision_loss, reason = "52 bits fit exactly")]
    let step = (hash >> 12) as f64;
    (step + 0.5) / STEPS
}
