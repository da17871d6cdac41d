//! The connection of a client: plain, or over TLS 1.3.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::TLS13;
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned};

pub(crate) enum Wire {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

/// Whether handshakes may be shortened by what an earlier one left.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tickets {
    Kept,
    Refused,
}

/// What it takes to believe a balancer whose certificate this authority has signed; none is plain.
pub(crate) fn believe(
    authority: Option<&Path>,
    tickets: Tickets,
) -> io::Result<Option<Arc<ClientConfig>>> {
    let Some(authority) = authority else {
        return Ok(None);
    };
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_file(authority).map_err(io::Error::other)?;
    roots.add(certificate).map_err(io::Error::other)?;
    let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&TLS13])
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    if tickets == Tickets::Refused {
        config.resumption = Resumption::disabled();
    }
    Ok(Some(Arc::new(config)))
}

impl Wire {
    /// Over TLS where there is a configuration for it; hands are shaken with the first bytes.
    pub(crate) fn over(
        stream: TcpStream,
        to: IpAddr,
        config: Option<&Arc<ClientConfig>>,
    ) -> io::Result<Self> {
        let Some(config) = config else {
            return Ok(Self::Plain(stream));
        };
        let session = ClientConnection::new(Arc::clone(config), ServerName::from(to));
        let session = session.map_err(io::Error::other)?;
        Ok(Self::Tls(Box::new(StreamOwned::new(session, stream))))
    }

    pub(crate) fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(tls) => &tls.sock,
        }
    }

    pub(crate) fn is_resumed(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(tls) => tls.conn.handshake_kind() == Some(HandshakeKind::Resumed),
        }
    }

    /// Whether a read that leaves room in its buffer has read all there is; a record may end before.
    pub(crate) fn reads_all(&self) -> bool {
        matches!(self, Self::Plain(_))
    }

    /// Writes what TLS still has, as far as there is room.
    pub(crate) fn push(&mut self) -> io::Result<()> {
        let Self::Tls(tls) = self else {
            return Ok(());
        };
        while tls.conn.wants_write() {
            match tls.conn.write_tls(&mut tls.sock) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl Read for Wire {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buf),
            Self::Tls(tls) => tls.read(buf),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(buf),
            Self::Tls(tls) => tls.write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Tls(tls) => tls.flush(),
        }
    }
}
