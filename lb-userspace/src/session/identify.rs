//! Exactly one CONNECT, in time and in bounds.

use bytes::{Bytes, BytesMut};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time;

use super::refuse::Refused;
use crate::admission::pending::Slot;
use crate::config::Limits;
use crate::mqtt::connect::{Connect, Decoder};

/// Room made for each read; most CONNECTs fit, larger ones take more as they arrive.
const READ_BYTES: usize = 512;

/// A client that said who it is.
#[derive(Debug)]
pub(super) struct Identified {
    pub connect: Connect,
    /// What the client sent behind its CONNECT.
    pub pipelined: Bytes,
}

pub(super) async fn identify(
    client: &mut TcpStream,
    limits: Limits,
    mut slot: Slot,
) -> Result<Identified, Refused> {
    let read = time::timeout(
        limits.connect_timeout,
        read(client, limits.connect_packet_bytes),
    );
    tokio::select! {
        // What is there is read, even where another one needs the room.
        biased;
        identified = read => identified.unwrap_or(Err(Refused::TooSlow)),
        () = slot.crowded_out() => Err(Refused::CrowdedOut),
    }
}

async fn read(client: &mut TcpStream, limit: usize) -> Result<Identified, Refused> {
    let mut decoder = Decoder::new(limit);
    let mut received = BytesMut::new();
    loop {
        received.reserve(READ_BYTES);
        if client
            .read_buf(&mut received)
            .await
            .map_err(Refused::Lost)?
            == 0
        {
            return Err(Refused::Closed);
        }
        if let Some(connect) = decoder.decode(&mut received)? {
            let pipelined = received.freeze();
            return Ok(Identified { connect, pipelined });
        }
    }
}
