//! How many connections each backend should have.

/// What each may keep of all that the backends have together, of their connections and weights.
///
/// Rounded up: nobody is moved for less than one connection.
pub fn fair(has: &[(u64, u64)]) -> Vec<u64> {
    let total: u128 = has
        .iter()
        .map(|(connections, _)| u128::from(*connections))
        .sum();
    let weights: u128 = has.iter().map(|(_, weight)| u128::from(*weight)).sum();
    let keep = |(_, weight): &(u64, u64)| {
        let share = (total * u128::from(*weight)).div_ceil(weights.max(1));
        u64::try_from(share).unwrap_or(u64::MAX)
    };
    has.iter().map(keep).collect()
}

#[cfg(test)]
mod tests {
    use super::fair;

    #[test]
    fn shares_by_weight_and_rounds_up() {
        assert_eq!(fair(&[(900, 1), (0, 1), (0, 1)]), [300, 300, 300]);
        assert_eq!(fair(&[(45, 2), (27, 1), (0, 1)]), [36, 18, 18]);
        assert_eq!(fair(&[(1, 1), (0, 1)]), [1, 1]);
        assert!(fair(&[]).is_empty());
    }

    #[test]
    fn leaves_nobody_more_excess_than_the_others_have_room() {
        let has = [(10, 3), (11, 1), (90, 2)];

        let keep = fair(&has);

        let total: u64 = has.iter().map(|(connections, _)| connections).sum();
        assert!(keep.iter().sum::<u64>() >= total);
        assert!(keep.iter().sum::<u64>() < total + 3);
    }

    #[test]
    fn nobody_has_a_weight() {
        assert_eq!(fair(&[(7, 0)]), [0]);
    }
}
