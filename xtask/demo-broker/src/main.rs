//! One broker behind several ports, each of which takes MQTT 3.1.1 and 5.0.
//!
//! The router inside is shared, so that a message published through one port reaches a
//! subscriber on another, as in a cluster. It takes the two versions on ports of their own;
//! each front port therefore looks at a client's CONNECT and copies to the one that fits.

mod connect;

use std::collections::HashMap;
use std::env;
use std::io::{self, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;

use anyhow::{Context as _, Result};
use rumqttd::{Broker, Config, ConnectionSettings, RouterConfig, ServerSettings};

use crate::connect::{Greeting, Version};

/// Where the router takes each version of MQTT.
#[derive(Clone, Copy)]
struct Inner {
    v4: SocketAddr,
    v5: SocketAddr,
}

fn main() -> Result<()> {
    let inner = Inner {
        v4: free_address()?,
        v5: free_address()?,
    };
    for address in env::args().skip(1) {
        let front =
            TcpListener::bind(&address).with_context(|| format!("cannot listen on {address}"))?;
        thread::spawn(move || serve(&front, inner));
    }
    Broker::new(config(inner))
        .start()
        .context("the broker does not start")
}

fn free_address() -> Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .context("no free port")
}

fn config(inner: Inner) -> Config {
    let router = RouterConfig {
        max_connections: 10_000,
        max_outgoing_packet_count: 200,
        max_segment_size: 16 << 20,
        max_segment_count: 4,
        ..RouterConfig::default()
    };
    Config {
        router,
        v4: Some(server("v4", inner.v4)),
        v5: Some(server("v5", inner.v5)),
        ..Config::default()
    }
}

fn server(name: &str, listen: SocketAddr) -> HashMap<String, ServerSettings> {
    let connections = ConnectionSettings {
        connection_timeout_ms: 10_000,
        max_payload_size: 1 << 20,
        max_inflight_count: 100,
        auth: None,
        external_auth: None,
        dynamic_filters: true,
    };
    let settings = ServerSettings {
        name: name.to_owned(),
        listen,
        tls: None,
        next_connection_delay_ms: 1,
        connections,
    };
    HashMap::from([(name.to_owned(), settings)])
}

fn serve(front: &TcpListener, inner: Inner) {
    for client in front.incoming().flatten() {
        thread::spawn(move || {
            if let Err(reason) = relay(client, inner) {
                eprintln!("a client left: {reason}");
            }
        });
    }
}

fn relay(mut client: TcpStream, inner: Inner) -> io::Result<()> {
    let Greeting { version, bytes } = connect::read(&mut client)?;
    let mut server = TcpStream::connect(match version {
        Version::V4 => inner.v4,
        Version::V5 => inner.v5,
    })?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    server.write_all(&bytes)?;

    let upward = (client.try_clone()?, server.try_clone()?);
    let up = thread::spawn(move || copy(upward.0, upward.1));
    let down = copy(server, client);
    up.join().unwrap_or(Ok(()))?;
    down
}

/// Copies one direction to its end and passes the end on.
fn copy(mut from: TcpStream, mut to: TcpStream) -> io::Result<()> {
    let outcome = io::copy(&mut from, &mut to);
    to.shutdown(Shutdown::Write).or_else(gone_already)?;
    outcome.map(drop)
}

fn gone_already(reason: io::Error) -> io::Result<()> {
    if reason.kind() == io::ErrorKind::NotConnected {
        return Ok(());
    }
    Err(reason)
}
