//! What can be done for a stream without waiting.

use std::cell::RefCell;
use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;

use bytes::{Buf as _, Bytes};
use lb_common::stream::MOVED_BROKEN;

use super::Relay;
use crate::counters::Counter;
use crate::kernel::sockmap::queue;
use crate::sys;

/// Bytes read at once; the size of the buffer each thread has.
const SCRATCH_BYTES: usize = 64 * 1024;
/// Reads of one stream before the other has its turn.
const TURN: usize = 16;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH_BYTES].into());
}

/// Why a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The sender closed or reset; everything it sent has been passed on.
    Sender,
    /// The receiver takes no more.
    Receiver,
    /// The sender had ended the other one long ago, and this one said nothing.
    Silence,
}

/// What a stream waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    /// Its end, or that it is passed: the kernel half carries it.
    Congestion,
    Readable,
    Writable,
    /// What was carried is to be in the receiver's queue, what was passed in the sender's.
    Settled,
    /// Its turn.
    Nothing,
    /// It has ended.
    Other,
}

#[derive(Debug)]
pub(super) struct Stream<'a> {
    pub(super) from: usize,
    /// Read, and not yet written.
    rest: Bytes,
    /// Bytes that were passed and read.
    pub(super) copied: u64,
    is_inserted: bool,
    /// The kernel half may carry, since this much was copied.
    carries_since: Option<u64>,
    /// What the receiver's socket had been written when nothing had been carried yet, or would have
    /// been; none where nothing carried can be on its way.
    base: Option<u64>,
    pub(super) end: Option<End>,
    tally: &'a Counter,
}

impl<'a> Stream<'a> {
    pub(super) fn new(from: usize, rest: Bytes, tally: &'a Counter) -> Self {
        Self {
            from,
            rest,
            copied: 0,
            is_inserted: false,
            carries_since: None,
            base: None,
            end: None,
            tally,
        }
    }
}

impl Relay<'_, '_> {
    /// Does for a stream what can be done without waiting.
    pub(super) fn step(&mut self, from: usize) -> io::Result<Wait> {
        for _ in 0..TURN {
            if self.streams[from].end.is_some() {
                return Ok(Wait::Other);
            }
            if !self.streams[from].rest.is_empty() {
                let wait = self.write(from)?;
                if wait != Wait::Nothing {
                    return Ok(wait);
                }
                continue;
            }
            let wait = match self.read(from) {
                Ok(None) => self.finish(from)?,
                Ok(Some(rest)) => {
                    self.streams[from].take(rest);
                    Wait::Nothing
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.rest(from)?,
                Err(error) => {
                    tracing::trace!(%error, "a leg ended");
                    self.finish(from)?
                }
            };
            if wait != Wait::Nothing {
                return Ok(wait);
            }
        }
        Ok(Wait::Nothing)
    }

    fn read(&self, from: usize) -> io::Result<Option<Bytes>> {
        SCRATCH.with_borrow_mut(|scratch| {
            let count = (&self.sockets[from]).read(scratch)?;
            Ok((count > 0).then(|| Bytes::copy_from_slice(&scratch[..count])))
        })
    }

    fn write(&mut self, from: usize) -> io::Result<Wait> {
        if !self.has_settled(from)? {
            return Ok(Wait::Settled);
        }
        let stream = &mut self.streams[from];
        match (&self.sockets[1 - from]).write(&stream.rest) {
            Ok(count) => {
                stream.rest.advance(count);
                stream.tally.add(count as u64);
                Ok(Wait::Nothing)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Wait::Writable),
            Err(_) => Ok(stream.stop(End::Receiver)),
        }
    }

    /// Whether all that was carried is in the receiver's send queue.
    fn has_settled(&mut self, from: usize) -> io::Result<bool> {
        let Some(base) = self.streams[from].base else {
            return Ok(true);
        };
        let to = &self.sockets[1 - from];
        let moved = self.legs.moved(from);
        if queue::written(to)? < base + moved.carried && !queue::is_gone(to) {
            return Ok(false);
        }
        self.streams[from].base = None;
        Ok(true)
    }

    /// Nothing is there to be read, and all is written: lets the kernel half carry, where it can.
    fn rest(&mut self, from: usize) -> io::Result<Wait> {
        let is_other_inserted = self.streams[1 - from].is_inserted;
        let (to, stream) = (&self.sockets[1 - from], &mut self.streams[from]);
        if queue::is_gone(to) {
            return Ok(stream.stop(End::Receiver));
        }
        if !stream.is_inserted {
            self.legs.insert(from, &self.sockets[from])?;
            stream.is_inserted = true;
            return Ok(Wait::Nothing);
        }
        let moved = self.legs.moved(from);
        if moved.state & MOVED_BROKEN != 0 {
            return Err(io::ErrorKind::InvalidData.into());
        }
        if moved.passed > stream.copied {
            // On its way to where it can be read: the kernel still has something for this socket
            // that came before.
            return Ok(Wait::Readable);
        }
        if stream.carries_since == Some(stream.copied) {
            return Ok(Wait::Congestion);
        }
        let waiting = sys::unacknowledged(to)?;
        if !is_other_inserted || waiting > self.legs.limit() / 2 {
            return Ok(Wait::Readable);
        }
        stream.base = Some(queue::written(to)?.wrapping_sub(moved.carried));
        stream.carries_since = Some(stream.copied);
        self.legs.carry(from, stream.copied)?;
        // Once more, for what was passed meanwhile.
        Ok(Wait::Nothing)
    }

    /// The sender has ended: the receiver learns of it when it has everything.
    fn finish(&mut self, from: usize) -> io::Result<Wait> {
        let moved = self.legs.moved(from);
        if moved.state & MOVED_BROKEN != 0 {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let is_copied = moved.passed <= self.streams[from].copied;
        if !is_copied || !self.has_settled(from)? {
            return Ok(Wait::Settled);
        }
        if let Err(error) = self.sockets[1 - from].shutdown(Shutdown::Write) {
            tracing::trace!(%error, "receiver was gone before it could be told");
        }
        Ok(self.streams[from].stop(End::Sender))
    }
}

impl Stream<'_> {
    fn take(&mut self, rest: Bytes) {
        if self.is_inserted {
            self.copied += rest.len() as u64;
        }
        self.rest = rest;
    }

    fn stop(&mut self, end: End) -> Wait {
        self.end = Some(end);
        Wait::Other
    }
}
