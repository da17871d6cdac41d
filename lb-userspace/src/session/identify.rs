//! Exactly one CONNECT, in time and in bounds.

use std::io::ErrorKind;

use bytes::{Bytes, BytesMut};
use tokio::time::{self, Instant};

use super::refuse::Refused;
use crate::admission::pending::{Held, Slot};
use crate::config::{Limits, PENDING_FREE_BYTES};
use crate::mqtt::connect::{Connect, Decoder};
use crate::stream::Stream;

/// A client that said who it is.
#[derive(Debug)]
pub(super) struct Identified {
    pub connect: Connect,
    /// What the client sent behind its CONNECT.
    pub pipelined: Bytes,
    /// Counts what both take.
    pub held: Held,
}

pub(super) async fn identify(
    client: &mut Stream,
    limits: &Limits,
    slot: Slot,
    until: Instant,
) -> Result<Identified, Refused> {
    let read = time::timeout_at(until, read(client, limits, &slot));
    let read = tokio::select! {
        // What has come in one piece is read, even where another one needs the room.
        biased;
        read = read => read.unwrap_or(Err(Refused::TooSlow)),
        why = slot.crowded_out() => Err(Refused::CrowdedOut(why)),
    };
    let (connect, pipelined) = read?;
    Ok(Identified {
        connect,
        pipelined,
        held: slot.finish(),
    })
}

async fn read(
    client: &mut Stream,
    limits: &Limits,
    slot: &Slot,
) -> Result<(Connect, Bytes), Refused> {
    let mut decoder = Decoder::new(limits.connect_packet_bytes);
    client.readable().await.map_err(Refused::Lost)?;
    let mut received = BytesMut::with_capacity(PENDING_FREE_BYTES);
    loop {
        // There is room for more: of as many bytes as a CONNECT may have, the decoder wants none.
        match client.try_read_buf(&mut received) {
            Ok(0) => return Err(Refused::Closed),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(Refused::Lost(error)),
        }
        if let Some(connect) = decoder.decode(&mut received)? {
            return Ok((connect, received.freeze()));
        }
        slot.keep(received);
        client.readable().await.map_err(Refused::Lost)?;
        let Some(kept) = slot.take(limits) else {
            return Err(Refused::CrowdedOut(slot.crowded_out().await));
        };
        received = kept;
    }
}
