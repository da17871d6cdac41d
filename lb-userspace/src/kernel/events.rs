//! What the kernel half tells, read from its ring.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;
use std::{fmt, io};

use aya::maps::{Map, MapData, RingBuf};
use lb_common::event::Event;
use lb_common::maps::EVENTS;
use tokio::io::unix::AsyncFd;
use tokio::time::{self, Instant};

use super::pins::Pins;
use super::tables::{TableError, of};
use crate::sys;

/// Events read before others get their turn.
const AT_A_TIME: usize = 512;

/// How long events are let gather: the kernel wakes only a reader that has read everything, so that
/// what comes meanwhile wakes nobody.
const GATHER: Duration = Duration::from_millis(2);

/// The reading end, of which there is one.
#[derive(Debug)]
pub struct Events {
    ring: AsyncFd<Ring>,
    /// When those that have begun to gather are read.
    due: Option<Instant>,
}

/// The ring, which has no `Debug` of its own.
struct Ring(RingBuf<MapData>);

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ring")
    }
}

impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Ring {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl Events {
    /// # Errors
    ///
    /// Somebody has removed the pins, or there is no way to wait.
    pub(super) fn open(pins: &Pins) -> Result<Self, TableError> {
        let data = MapData::from_pin(pins.map(EVENTS)).map_err(of(EVENTS))?;
        let map = Map::from_map_data(data).map_err(of(EVENTS))?;
        let ring = RingBuf::try_from(map).map_err(of(EVENTS))?;
        let watched = sys::watch(Ring(ring)).map_err(TableError::Wait)?;
        Ok(Self {
            ring: watched,
            due: None,
        })
    }

    /// Waits for events and gives some of them.
    ///
    /// # Errors
    ///
    /// There is no way to wait any more.
    pub async fn next(&mut self) -> io::Result<Vec<Event>> {
        let mut ready = self.ring.readable_mut().await?;
        let due = self.due.get_or_insert_with(|| Instant::now() + GATHER);
        time::sleep_until(*due).await;
        let ring = &mut ready.get_inner_mut().0;
        let mut events = Vec::new();
        while events.len() < AT_A_TIME {
            let Some(item) = ring.next() else {
                ready.clear_ready();
                self.due = None;
                break;
            };
            // Anything of another size is not of this layout.
            events.extend(sys::value::<Event>(&item));
        }
        Ok(events)
    }
}
