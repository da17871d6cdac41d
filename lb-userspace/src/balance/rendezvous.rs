//! Consistent hashing: an id goes where its score is highest, so a change moves only what it must.
//!
//! Weighted rendezvous hashing (Schindelhauer and Schomaker, "Weighted distributed hash tables",
//! 2005). Every node with the same names and weights gives the same answer, without any table.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::Member;

#[derive(Debug)]
pub struct Rendezvous {
    /// Seed and weight of each member.
    members: Vec<(u64, f64)>,
}

impl Rendezvous {
    pub(super) fn new(members: &[Member]) -> Self {
        let seeded = |member: &Member| {
            let seed = xxh3_64_with_seed(member.name.as_bytes(), 0);
            (seed, f64::from(member.weight))
        };
        Self {
            members: members.iter().map(seeded).collect(),
        }
    }

    pub(super) fn order(&self, key: &[u8]) -> Vec<usize> {
        let score =
            |(seed, weight): &(u64, f64)| -weight / unit(xxh3_64_with_seed(key, *seed)).ln();
        let scores: Vec<f64> = self.members.iter().map(score).collect();

        let mut order: Vec<usize> = (0..scores.len()).collect();
        order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
        order
    }
}

/// A hash as a number between 0 and 1, both excluded.
fn unit(hash: u64) -> f64 {
    const STEPS: f64 = (1_u64 << 52) as f64;
    #[expect(clippy::cast_precision_loss, reason = "52 bits fit exactly")]
    let step = (hash >> 12) as f64;
    (step + 0.5) / STEPS
}

#[cfg(test)]
mod tests {
    use super::super::Member;
    use super::Rendezvous;

    const IDS: usize = 10_000;

    fn members(weights: &[u16]) -> Vec<Member> {
        let member = |(n, weight): (usize, &u16)| Member {
            name: format!("broker-{n}"),
            weight: *weight,
        };
        weights.iter().enumerate().map(member).collect()
    }

    fn firsts(members: &[Member]) -> Vec<usize> {
        let rendezvous = Rendezvous::new(members);
        (0..IDS)
            .map(|n| rendezvous.order(format!("device-{n}").as_bytes())[0])
            .collect()
    }

    #[test]
    fn names_every_member_once() {
        let mut order = Rendezvous::new(&members(&[1, 5, 256])).order(b"device");

        order.sort_unstable();

        assert_eq!(order, [0, 1, 2]);
    }

    #[test]
    fn shares_by_weight() {
        let firsts = firsts(&members(&[1, 2, 5]));

        for (member, weight) in [1, 2, 5].into_iter().enumerate() {
            let got = firsts.iter().filter(|first| **first == member).count();
            let due = IDS * weight / 8;
            assert!(
                got.abs_diff(due) < IDS / 50,
                "member {member}: {got} of {due}"
            );
        }
    }

    #[test]
    fn a_new_member_moves_only_what_it_takes() {
        let before = firsts(&members(&[1, 1, 1]));
        let after = firsts(&members(&[1, 1, 1, 1]));

        let moved = before.iter().zip(&after).filter(|(a, b)| a != b);

        assert!(moved.clone().all(|(_, to)| *to == 3));
        assert!(moved.count().abs_diff(IDS / 4) < IDS / 50);
    }

    #[test]
    fn the_second_choice_is_where_an_id_goes_without_the_first() {
        let all = members(&[1, 1, 1]);
        let rendezvous = Rendezvous::new(&all);
        let without_last = Rendezvous::new(&all[..2]);

        for n in 0..100 {
            let id = format!("device-{n}");
            let order = rendezvous.order(id.as_bytes());
            if order[0] == 2 {
                assert_eq!(order[1], without_last.order(id.as_bytes())[0]);
            }
        }
    }
}
