//! Hears from the kernel half, and removes what it tells has ended.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use lb_common::event::{EVENT_CLOSED, EVENT_REPLACED, Event};
use lb_common::flow::FlowKey;
use tokio::time::{self, Instant};

use super::sweep::look_closer;
use crate::kernel::events::Events;
use crate::kernel::sweep::{Found, LINGER, Scope};
use crate::session::World;

/// Closed connections that are waited for; the sweep finds the others.
const LINGERING: usize = 1 << 16;
/// How much later than it could be a connection is removed, so that many are at a time.
const PATIENCE: Duration = Duration::from_millis(200);
/// Connections removed before others get their turn.
const AT_A_TIME: usize = 256;

/// Connections that are to be removed, the next one first.
#[derive(Debug, Default)]
struct Lingering(VecDeque<Closed>);

#[derive(Debug, Clone, Copy)]
struct Closed {
    due: Instant,
    key: FlowKey,
    session: u64,
}

/// Listens for as long as the daemon runs.
///
/// # Errors
///
/// There is no way to wait for events any more.
pub(super) async fn hear(world: &World, mut events: Events) -> io::Result<()> {
    let mut lingering = Lingering::default();
    loop {
        tokio::select! {
            told = events.next() => {
                for event in told? {
                    world.registry.leaving.tell(&event);
                    lingering.note(world, &event);
                }
                // Who only ever hears does nothing else.
                tokio::task::yield_now().await;
            }
            () = lingering.is_due() => lingering.settle(world),
        }
    }
}

impl Lingering {
    fn note(&mut self, world: &World, event: &Event) {
        match event.kind {
            EVENT_CLOSED => self.wait_for(event.key, event.session),
            EVENT_REPLACED if !world.registry.leaving.has(event.session) => {
                look_closer(world, &event.key, event.session, Scope::Running);
            }
            _ => {}
        }
    }

    fn wait_for(&mut self, key: FlowKey, session: u64) {
        if self.0.len() < LINGERING {
            let due = Instant::now() + LINGER;
            self.0.push_back(Closed { due, key, session });
        }
    }

    async fn is_due(&self) {
        match self.0.front() {
            Some(first) => time::sleep_until(first.due + PATIENCE).await,
            None => std::future::pending().await,
        }
    }

    fn settle(&mut self, world: &World) {
        let now = Instant::now();
        for _ in 0..AT_A_TIME {
            let Some(first) = self.0.pop_front_if(|first| first.due <= now) else {
                return;
            };
            let Closed { key, session, .. } = first;
            // Something was sent again since, or the daemon has not left it yet.
            if world.registry.leaving.has(session)
                || matches!(
                    look_closer(world, &key, session, Scope::Running),
                    Found::Lives
                )
            {
                self.wait_for(key, session);
            }
        }
    }
}
