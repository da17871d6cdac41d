//! The main thread: it answers the command line, follows signals, and keeps up with the kernel.

use std::cell::RefCell;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::time;
use tracing_subscriber::EnvFilter;

use super::hand_over::{self, Former, Offer};
use super::reload::Reloader;
use super::report::Facts;
use super::sockets::Sockets;
use super::{Failure, Start, answer, ends, evict, remember, rounds, sweep, unix_time, watch};
use crate::config::Config;
use crate::control::reload::{Cause, Outcome, Reload};
use crate::control::{self, Reply, Request};
use crate::drain::Tasks;
use crate::health;
use crate::kernel::Kernel;
use crate::kernel::events::Events;
use crate::kernel::pins::is_running;
use crate::kernel::tables::Tables;
use crate::session::World;

/// Between two looks whether the daemon before this one still runs.
const LOOK: Duration = Duration::from_secs(1);

/// What is done here, beside the threads that serve clients.
#[derive(Debug)]
pub(super) struct Office<'a> {
    pub start: &'a Start,
    pub world: &'a Arc<World>,
    /// With tables for what takes long.
    pub kernel: Option<(Kernel, Arc<Tables>)>,
    pub control: control::Socket,
    pub facts: &'a Facts,
    /// A daemon that still carries what it copies, by its process id, and the first session that is not
    /// one of its own.
    pub former: Option<(u32, u64)>,
}

/// What the office was told last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// Another daemon serves now.
    Replaced,
    Stop,
}

/// Somebody who wants a reload, and hears what came of it.
type Wish = (Cause, oneshot::Sender<Outcome>);

impl Office<'_> {
    /// Is found now where the daemon before it was, and lets that go.
    pub(super) fn take_place(&mut self, former: Former) -> Result<(), Failure> {
        let path = &self.start.config.daemon.control;
        self.control.move_to(path).map_err(Failure::HandOver)?;
        former.dismiss().map_err(Failure::HandOver)
    }

    /// Works until SIGTERM or SIGINT.
    pub(super) async fn until_told(
        mut self,
        sockets: Sockets,
        tasks: &Tasks,
    ) -> Result<Told, Failure> {
        let hang_up = signal(SignalKind::hangup()).map_err(Failure::Runtime)?;
        let ended = end()?;

        let Self {
            start,
            world,
            facts,
            ..
        } = self;
        let (mut kernel, shared) = match &mut self.kernel {
            Some((kernel, tables)) => (Some(kernel), Some(&*tables)),
            None => (None, None),
        };
        let tables = shared.map(Arc::as_ref);
        let sticky = kernel.as_deref().map(Kernel::sticky).transpose()?;
        let kernel_log = kernel_log(kernel.as_deref_mut())?;
        let events = kernel.as_ref().map(|kernel| kernel.events()).transpose()?;
        let (wish, wishes) = mpsc::channel(1);
        let (successor, successors) = mpsc::channel(1);
        let reloader = Reloader {
            start,
            text: start.text.clone(),
            world,
            sockets,
        };
        let config = RefCell::new(start.config.clone());
        let answer = async |request| match request {
            Request::Reload => reloaded(ask(&wish, Cause::Command).await),
            Request::Explain { .. }
            | Request::Flows(_)
            | Request::HandOver
            | Request::Operate { .. }
            | Request::Simulate { .. }
            | Request::Status => answer::answer(world, shared, facts, request).await,
        };
        let errors = async {
            let error = tokio::select! {
                ended = self.control.answer_forever(answer, successor) => ended,
                ended = kernel_log => ended,
            };
            tracing::error!(?error, "the control socket and the kernel's log are closed");
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = ended => {}
            () = errors => {}
            () = evict::forever(world, tables) => {}
            () = health::forever(world, tasks) => {}
            () = remember::forever(world, tables, sticky) => {}
            () = keep_up(world, kernel.zip(tables), events) => {}
            () = on_signal(hang_up, &wish) => {}
            () = on_change(start, &config, &wish) => {}
            () = bury(world, tables, self.former) => {}
            () = fulfil(wishes, successors, reloader, facts, &config) => return Ok(Told::Replaced),
        }
        Ok(Told::Stop)
    }
}

fn reloaded(outcome: Option<Outcome>) -> Reply {
    let stopping = || Reply::Error("the balancer is stopping".to_owned());
    outcome.map_or_else(stopping, Reply::Reload)
}

/// Cleans up behind the daemon before this one when that has ended.
async fn bury(world: &World, tables: Option<&Tables>, former: Option<(u32, u64)>) {
    if let (Some(tables), Some((pid, first))) = (tables, former) {
        while is_running(pid) {
            time::sleep(LOOK).await;
        }
        sweep::bury(world, tables, first);
    }
    std::future::pending::<()>().await;
}

/// Keeps up with the kernel for as long as the daemon runs.
async fn keep_up(world: &World, kernel: Option<(&mut Kernel, &Tables)>, events: Option<Events>) {
    let (Some((kernel, tables)), Some(events)) = (kernel, events) else {
        return std::future::pending().await;
    };
    let heard = async {
        if let Err(error) = ends::hear(world, events).await {
            tracing::error!(%error, "the kernel half is not heard; what it tells is found by looking");
        }
    };
    tokio::join!(
        rounds::forever(world, kernel, tables),
        sweep::forever(world, tables),
        heard
    );
}

/// Ends when everybody has gone, at a signal, or after `timeout`.
pub(super) async fn drain(timeout: Duration, has_gone: impl Fn() -> bool) -> Result<(), Failure> {
    let all_gone = async {
        while !has_gone() {
            time::sleep(LOOK).await;
        }
    };
    let ended = end()?;
    tokio::select! {
        () = all_gone => {}
        () = ended => {}
        () = time::sleep(timeout) => {}
    }
    Ok(())
}

/// What ends with SIGTERM or SIGINT.
fn end() -> Result<impl Future<Output = ()>, Failure> {
    let on = |kind| signal(kind).map_err(Failure::Runtime);
    let mut terminate = on(SignalKind::terminate())?;
    let mut interrupt = on(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Ends only with an error.
fn kernel_log(
    kernel: Option<&mut Kernel>,
) -> Result<impl Future<Output = io::Result<()>> + use<>, Failure> {
    let log = kernel.map(Kernel::log).transpose();
    let log = log.map_err(Failure::Runtime)?;
    Ok(async {
        match log {
            Some(log) => log.await,
            None => std::future::pending().await,
        }
    })
}

async fn ask(wish: &mpsc::Sender<Wish>, cause: Cause) -> Option<Outcome> {
    let (answer, answered) = oneshot::channel();
    wish.send((cause, answer)).await.ok()?;
    answered.await.ok()
}

async fn on_signal(mut hang_up: Signal, wish: &mpsc::Sender<Wish>) {
    loop {
        hang_up.recv().await;
        // What came of it is in the log.
        ask(wish, Cause::Signal).await;
    }
}

/// Looks at the files for as long as the configuration says so.
async fn on_change(start: &Start, config: &RefCell<Config>, wish: &mpsc::Sender<Wish>) {
    let named = || config.borrow().files();
    let mut seen = watch::Seen::new(start.text.clone(), named());
    loop {
        seen.until_changed(&start.file, named).await;
        if config.borrow().daemon.watch_config {
            ask(wish, Cause::File).await;
        }
    }
}

/// Reloads, one wish after the other.
async fn fulfil(
    mut wishes: mpsc::Receiver<Wish>,
    mut successors: mpsc::Receiver<UnixStream>,
    mut reloader: Reloader<'_>,
    facts: &Facts,
    config: &RefCell<Config>,
) {
    loop {
        let wish = tokio::select! {
            wish = wishes.recv() => wish,
            () = reloader.sockets.forget_retired() => continue,
            Some(stream) = successors.recv() => {
                let Reloader { world, sockets, .. } = &mut reloader;
                if hand_over::hand_over(stream, facts.since(), world, sockets).await == Offer::Taken {
                    return;
                }
                if world.is_released() {
                    super::take_back(world, &config.borrow(), facts.since());
                }
                continue;
            }
        };
        let Some((cause, answer)) = wish else { return };
        reloader.sockets.notify().reloading();
        let (outcome, taken) = reloader.reload().await;
        reloader.sockets.notify().ready();
        if let Some(taken) = taken {
            set_log(reloader.start, &taken.daemon.log);
            config.replace(taken);
        }
        facts.reloaded(Reload {
            at: unix_time(),
            cause,
            outcome: outcome.clone(),
        });
        if answer.send(outcome).is_err() {
            tracing::debug!("nobody waits for the end of the reload");
        }
    }
}

fn set_log(start: &Start, filter: &str) {
    // The check of the configuration has read it as well.
    let set = EnvFilter::try_new(filter).map(|filter| (start.set_log.0)(filter));
    if let Ok(Err(error)) = set {
        tracing::warn!(%error, "the filter of the log stays as it was");
    }
}
