//! One direction of a connection, to be read from while the other one is written to.

use std::io::{self, Read as _};
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead as _, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::ReadHalf;

use crate::kernel::leg;
use crate::stream::Stream;

/// Reads what has come into a buffer that others use as well.
pub(super) trait Receive {
    /// No bytes are the end.
    fn poll_receive(
        &self,
        context: &mut Context<'_>,
        scratch: &mut [u8],
    ) -> Poll<io::Result<usize>>;
}

impl Receive for ReadHalf<'_> {
    fn poll_receive(
        &self,
        context: &mut Context<'_>,
        scratch: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            // Takes turns with others, as a pair of fast peers must not keep the thread from them.
            ready!(self.as_ref().poll_read_ready(context))?;
            match read(self.as_ref(), scratch) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return Poll::Ready(read),
            }
        }
    }
}

/// Reads once. A socket that did not fill the buffer has nothing more, and is not asked again before it
/// says that it has.
fn read(from: &TcpStream, scratch: &mut [u8]) -> io::Result<usize> {
    let mut last = None;
    let read = from.try_io(Interest::READABLE, || {
        let count = (&*SockRef::from(from)).read(scratch)?;
        if count == 0 || count == scratch.len() {
            return Ok(count);
        }
        last = Some(count);
        // Has the runtime wait for the next edge (epoll(7)); one since then is not lost.
        Err(io::ErrorKind::WouldBlock.into())
    });
    last.map_or(read, Ok)
}

/// A client whose TLS ends here, for both directions, which one task carries.
#[derive(Debug, Clone, Copy)]
pub(super) struct TlsHalf<'a, 'c>(pub &'a Mutex<&'c mut Stream>);

impl<'c> TlsHalf<'_, 'c> {
    /// How long the client has been silent.
    pub(super) fn silence(&self) -> io::Result<Duration> {
        leg::silence(self.whole().socket())
    }

    fn whole(&self) -> MutexGuard<'_, &'c mut Stream> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Receive for TlsHalf<'_, '_> {
    fn poll_receive(
        &self,
        context: &mut Context<'_>,
        scratch: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(scratch);
        ready!(Pin::new(&mut **self.whole()).poll_read(context, &mut buffer))?;
        Poll::Ready(Ok(buffer.filled().len()))
    }
}

impl AsyncWrite for TlsHalf<'_, '_> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut **self.whole()).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut **self.whole()).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut **self.whole()).poll_shutdown(cx)
    }
}
