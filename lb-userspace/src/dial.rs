//! A TCP connection to a backend, within a time.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time;

/// Connects to a backend; small packets leave at once.
///
/// # Errors
///
/// Whatever the kernel says of the connection, or `TimedOut`.
pub async fn dial(address: SocketAddr, within: Duration) -> io::Result<TcpStream> {
    let stream = time::timeout(within, TcpStream::connect(address))
        .await
        .map_err(|elapsed| io::Error::new(io::ErrorKind::TimedOut, elapsed))??;
    stream.set_nodelay(true)?;
    Ok(stream)
}
