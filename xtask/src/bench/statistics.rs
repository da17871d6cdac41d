//! Median and spread of a few rounds.

/// Of the same figure in every round.
#[derive(Clone, Copy)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) least: f64,
    pub(super) most: f64,
}

impl Spread {
    /// None of no rounds.
    pub(super) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (least, most) = (*values.first()?, *values.last()?);
        let upper = values[values.len() / 2];
        let lower = values[(values.len() - 1) / 2];
        Some(Self {
            median: f64::midpoint(lower, upper),
            least,
            most,
        })
    }

    /// How far the rounds lie apart, as a part of their median.
    pub(super) fn width(&self) -> f64 {
        (self.most - self.least) / self.median.max(f64::MIN_POSITIVE)
    }
}

#[cfg(test)]
mod tests {
    use super::Spread;

    #[test]
    fn the_median_of_an_even_number_is_between_the_middle_two() {
        let spread = Spread::of([4.0, 1.0, 2.0, 3.0]).unwrap();
        assert_eq!([spread.least, spread.median, spread.most], [1.0, 2.5, 4.0]);
    }

    #[test]
    fn one_slow_round_does_not_move_the_median() {
        let spread = Spread::of([10.0, 11.0, 1.0]).unwrap();
        assert_eq!(spread.median, 10.0);
        assert_eq!(spread.width(), 1.0);
    }

    #[test]
    fn nothing_has_no_median() {
        assert!(Spread::of([]).is_none());
    }
}
