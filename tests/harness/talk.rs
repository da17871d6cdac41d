//! Clients that talk all the time, and notice when they are not answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};

use crate::client::Client;
use crate::wait;

/// Threads that share the talking.
const THREADS: usize = 4;

/// Clients of an echo, each of which has just been answered, or is about to be.
#[derive(Debug)]
pub struct Talk {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<Vec<Client>>>,
}

#[derive(Debug, Default)]
struct Shared {
    has_ended: AtomicBool,
    rounds: AtomicUsize,
}

impl Talk {
    /// Lets them talk.
    pub fn start(mut clients: Vec<Client>) -> Self {
        let shared = Arc::new(Shared::default());
        let share = clients.len().div_ceil(THREADS);
        let mut threads = Vec::new();
        while !clients.is_empty() {
            let some = clients.split_off(clients.len().saturating_sub(share));
            let state = Arc::clone(&shared);
            threads.push(thread::spawn(move || talk(some, &state)));
        }
        Self { shared, threads }
    }

    /// Waits until every client has been answered again, to something it says from now on.
    pub fn until_all_answered(&self) {
        // Each thread counts a round; one that was under way now may be half from before.
        let rounds = self.shared.rounds.load(Ordering::SeqCst);
        let enough = rounds + 2 * self.threads.len() * self.threads.len();
        wait::until("everybody is answered", || {
            assert!(
                !self.threads.iter().any(JoinHandle::is_finished),
                "a client was not answered"
            );
            self.shared.rounds.load(Ordering::SeqCst) >= enough
        });
    }

    /// Lets them finish the word, and gives them back.
    ///
    /// # Panics
    ///
    /// One of them was not answered.
    pub fn end(mut self) -> Vec<Client> {
        self.shared.has_ended.store(true, Ordering::SeqCst);
        let join = |thread: JoinHandle<Vec<Client>>| thread.join().expect("everybody is answered");
        self.threads.drain(..).flat_map(join).collect()
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        self.shared.has_ended.store(true, Ordering::SeqCst);
    }
}

fn talk(mut clients: Vec<Client>, shared: &Shared) -> Vec<Client> {
    let mut round = 0;
    while !shared.has_ended.load(Ordering::SeqCst) {
        say(&mut clients, round);
        shared.rounds.fetch_add(1, Ordering::SeqCst);
        round += 1;
    }
    clients
}

/// Each client says something of its own, and then each hears it.
pub fn say(clients: &mut [Client], round: usize) {
    let word = |n: usize| format!("{round:08} {n:08}").into_bytes();
    for (n, client) in clients.iter_mut().enumerate() {
        client.send(&word(n));
    }
    for (n, client) in clients.iter_mut().enumerate() {
        let word = word(n);
        assert_eq!(client.bytes(word.len()), word);
    }
}
