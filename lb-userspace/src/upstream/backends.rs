//! All backends, by their numbers.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use super::Backend;

/// Every backend that sessions are counted for, those no longer configured included.
#[derive(Debug, Default)]
pub struct Backends(RwLock<HashMap<u32, Arc<Backend>>>);

impl Backends {
    pub fn insert(&self, backend: &Arc<Backend>) {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        all.insert(backend.number, Arc::clone(backend));
    }

    pub fn by_number(&self, number: u32) -> Option<Arc<Backend>> {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        all.get(&number).cloned()
    }

    /// All of them, in the order of their numbers.
    pub fn all(&self) -> Vec<Arc<Backend>> {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<Arc<Backend>> = all.values().cloned().collect();
        all.sort_by_key(|backend| backend.number);
        all
    }

    /// Forgets those that are no longer configured, have no connection, and are known to no session.
    pub fn take_ended(&self) -> Vec<Arc<Backend>> {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        // Who knows it through a pool holds that pool, and so another reference.
        let is_over = |_: &u32, backend: &mut Arc<Backend>| {
            let is_unused = backend.is_gone() && backend.connections.value() == 0;
            is_unused && Arc::strong_count(backend) == 1
        };
        all.extract_if(is_over).map(|(_, ended)| ended).collect()
    }
}
