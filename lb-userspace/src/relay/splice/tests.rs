use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use lb_common::event::{EVENT_BROKER_ACKNOWLEDGED, EVENT_CLIENT_ACKNOWLEDGED, Event};
use lb_common::flow::FlowKey;
use socket2::SockRef;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time;

use super::super::copy::Pending;
use super::{Installed, Leaving};
use crate::kernel::grace::Grace;
use crate::registry::Registry;

const SESSION: u64 = 7;
const KEY: FlowKey = FlowKey {
    source: [0; 16],
    destination: [0; 16],
    source_port: 0,
    destination_port: 0,
};
/// A connection of this host: the daemon's end and the other, with so much room for what it has not
/// read.
async fn leg(receive_buffer: usize) -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    SockRef::from(&listener)
        .set_recv_buffer_size(receive_buffer)
        .unwrap();
    let address = listener.local_addr().unwrap();
    let (ours, theirs) = tokio::join!(TcpStream::connect(address), listener.accept());
    (ours.unwrap(), theirs.unwrap().0)
}

/// Without tables nothing is found by looking: only the test tells.
fn leaving(registry: &Arc<Registry>, sockets: [TcpStream; 2], until: [u32; 2]) -> Leaving {
    let installed = Installed {
        keys: [KEY; 2],
        session: SESSION,
        until,
        watched: registry.leaving.watch(SESSION, [0, 0]),
    };
    Leaving::new(Arc::clone(registry), installed, sockets)
}

fn tell(registry: &Registry, kind: u32, acknowledgment: u32) {
    registry.leaving.tell(&Event {
        key: KEY,
        kind,
        session: SESSION,
        acknowledgment,
        reserved: 0,
    });
}

fn pending(to_broker: usize, to_client: usize) -> Pending {
    Pending {
        to_broker: vec![1; to_broker].into(),
        to_client: vec![2; to_client].into(),
    }
}

/// Waits for an hour in which nothing is to happen.
async fn nothing_for_an_hour<T>(of: &mut (impl Future<Output = T> + Unpin)) {
    time::pause();
    let stays = time::timeout(Duration::from_secs(3600), of).await;
    time::resume();
    assert!(stays.is_err(), "it came to an end");
}

async fn read(from: &mut TcpStream, count: usize) {
    let mut bytes = vec![0; count];
    let read = from.read_exact(&mut bytes);
    time::timeout(Duration::from_secs(60), read)
        .await
        .expect("it comes")
        .unwrap();
}

/// A broker that reads nothing of what is pending.
async fn waits_for_a_broker(pending_bytes: usize, receive_buffer: usize) {
    let Ok(grace) = Grace::start() else {
        return;
    };
    let registry = Arc::new(Registry::new(None, 1));
    let (client, _client_end) = leg(receive_buffer).await;
    let (broker, mut broker_end) = leg(receive_buffer).await;
    let until = [4, u32::try_from(pending_bytes).unwrap()];
    let leaving = leaving(&registry, [client, broker], until);
    let mut leave = Box::pin(leaving.leave(pending(pending_bytes, 4), &grace));

    nothing_for_an_hour(&mut leave).await;
    let reads = async {
        read(&mut broker_end, pending_bytes).await;
        tell(&registry, EVENT_CLIENT_ACKNOWLEDGED, until[0]);
        tell(&registry, EVENT_BROKER_ACKNOWLEDGED, until[1]);
    };
    let (left, ()) = tokio::join!(leave, reads);

    left.unwrap();
    assert!(!registry.leaving.has(SESSION));
}

#[tokio::test]
async fn waits_for_a_broker_that_does_not_read_what_is_to_be_written() {
    waits_for_a_broker(64 << 20, 1 << 20).await;
}

#[tokio::test]
async fn waits_for_a_broker_that_does_not_acknowledge_what_is_written() {
    waits_for_a_broker(128 << 10, 4096).await;
}

#[tokio::test]
async fn a_broker_that_wants_to_be_read_first_is_read() {
    let Ok(grace) = Grace::start() else {
        return;
    };
    let registry = Arc::new(Registry::new(None, 1));
    let (client, mut client_end) = leg(1 << 20).await;
    let (broker, mut broker_end) = leg(1 << 20).await;
    broker_end.write_all(b"first me").await.unwrap();
    let until = [4, 64 << 20];
    let leaving = leaving(&registry, [client, broker], until);
    let leave = leaving.leave(pending(64 << 20, 4), &grace);

    let reads = async {
        read(&mut client_end, 4 + b"first me".len()).await;
        read(&mut broker_end, 64 << 20).await;
        tell(&registry, EVENT_CLIENT_ACKNOWLEDGED, 12);
        tell(&registry, EVENT_BROKER_ACKNOWLEDGED, until[1]);
    };
    let (left, ()) = tokio::join!(leave, reads);

    left.unwrap();
}
