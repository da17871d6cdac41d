//! The connection of a client: as it comes, or with TLS ended here.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tokio_util::io::poll_read_buf;

/// Closed when dropped; under TLS without a word, so [`say_goodbye`](Self::say_goodbye) comes first.
#[derive(Debug)]
pub enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    pub fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(tls) => tls.get_ref().0,
        }
    }

    /// The name the client asked for, in lower case (RFC 6066 section 3).
    pub fn server_name(&self) -> Option<&str> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(tls) => tls.get_ref().1.server_name(),
        }
    }

    /// The application protocol that was agreed on (RFC 7301).
    pub fn alpn(&self) -> Option<&str> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(tls) => std::str::from_utf8(tls.get_ref().1.alpn_protocol()?).ok(),
        }
    }

    /// Waits until there may be something to read, or the end.
    ///
    /// # Errors
    ///
    /// The runtime is shutting down.
    pub async fn readable(&self) -> io::Result<()> {
        if let Self::Tls(tls) = self
            && !tls.get_ref().1.wants_read()
        {
            return Ok(());
        }
        self.socket().readable().await
    }

    /// Appends what has come, without waiting; nothing is the end.
    ///
    /// # Errors
    ///
    /// `WouldBlock` where nothing has come, or what the kernel or TLS says of the connection.
    pub fn try_read_buf(&mut self, received: &mut BytesMut) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.try_read_buf(received),
            Self::Tls(tls) => at_once(|now| poll_read_buf(Pin::new(&mut **tls), now, received)),
        }
    }

    /// Writes what finds room, without waiting.
    ///
    /// # Errors
    ///
    /// `WouldBlock` where there is none, or what the kernel or TLS says of the connection.
    pub fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.try_write(bytes),
            Self::Tls(tls) => at_once(|now| {
                let written = Pin::new(&mut **tls).poll_write(now, bytes);
                match Pin::new(&mut **tls).poll_flush(now) {
                    Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                    Poll::Ready(Ok(())) | Poll::Pending => written,
                }
            }),
        }
    }

    /// Tells the client, as far as that needs no waiting, that nothing more comes (RFC 8446 section 6.1);
    /// without TLS the kernel does so.
    pub fn say_goodbye(&mut self) {
        if let Self::Tls(tls) = self
            && let Err(error) = at_once(|now| Pin::new(&mut **tls).poll_shutdown(now))
        {
            tracing::trace!(%error, "client was not told");
        }
    }
}

/// What is there without waiting.
fn at_once<T>(poll: impl FnOnce(&mut Context<'_>) -> Poll<io::Result<T>>) -> io::Result<T> {
    match poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(ready) => ready,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_read(cx, buf),
            Self::Tls(tls) => Pin::new(tls).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write(cx, buf),
            Self::Tls(tls) => Pin::new(tls).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_flush(cx),
            Self::Tls(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}
