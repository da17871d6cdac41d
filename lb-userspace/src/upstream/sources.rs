//! The addresses of this host that a backend is dialled from.

use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// In turn; none where the route decides.
#[derive(Debug, Default)]
pub struct Sources {
    addresses: RwLock<Arc<[IpAddr]>>,
    turn: AtomicUsize,
}

impl Sources {
    pub fn set(&self, addresses: &[IpAddr]) {
        *self
            .addresses
            .write()
            .unwrap_or_else(PoisonError::into_inner) = addresses.into();
    }

    pub fn all(&self) -> Arc<[IpAddr]> {
        let addresses = self.addresses.read();
        Arc::clone(&addresses.unwrap_or_else(PoisonError::into_inner))
    }

    /// Each once, and another one first than the last time.
    pub fn in_turn(&self) -> Vec<IpAddr> {
        let mut all = self.all().to_vec();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let first = turn.checked_rem(all.len()).unwrap_or(0);
        all.rotate_left(first);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::Sources;

    #[test]
    fn each_is_the_first_in_turn() {
        let [a, b] = ["10.0.0.1", "10.0.0.2"].map(|text| text.parse().unwrap());
        let sources = Sources::default();
        assert!(sources.in_turn().is_empty());

        sources.set(&[a, b]);

        let firsts: Vec<_> = (0..4).map(|_| sources.in_turn()[0]).collect();
        assert!(firsts == [a, b, a, b] || firsts == [b, a, b, a]);
        assert_eq!(sources.in_turn().len(), 2);
    }
}
