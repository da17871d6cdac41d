//! Why backends were passed over for a client, counted.

use crate::config::why::Why;
use crate::counters::Counter;

/// How often a backend was passed over, by reason.
#[derive(Debug, Default)]
pub struct PassedOver([Counter; Why::ALL.len()]);

impl PassedOver {
    pub fn count(&self, why: Why) {
        self.0[why.index()].add(1);
    }

    pub fn total(&self) -> u64 {
        self.0.iter().map(Counter::value).sum()
    }

    pub fn each(&self) -> impl Iterator<Item = (Why, u64)> {
        Why::ALL
            .into_iter()
            .map(|why| (why, self.0[why.index()].value()))
    }
}

#[cfg(test)]
mod tests {
    use super::{PassedOver, Why};

    #[test]
    fn counts_every_reason_by_itself() {
        let passed_over = PassedOver::default();
        for why in Why::ALL {
            passed_over.count(why);
        }

        assert!(passed_over.each().all(|(_, count)| count == 1));
        assert_eq!(passed_over.total(), Why::ALL.len() as u64);
    }
}
