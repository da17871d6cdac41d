//! The connection of a client: plain, or over TLS 1.3.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_256_GCM_SHA384;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::crypto::aws_lc_rs::kx_group::X25519;
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
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(&[&TLS13])
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    if tickets == Tickets::Refused {
        config.resumption = Resumption::disabled();
    }
    Ok(Some(Arc::new(config)))
}

/// One cipher suite and one group, so that no balancer is measured with what only it prefers.
fn provider() -> CryptoProvider {
    CryptoProvider {
        cipher_suites: vec![TLS13_AES_256_GCM_SHA384],
        kx_groups: vec![X25519],
        ..default_provider()
    }
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

#[cfg(test)]
mod tests {
    use std::io::{self, Read as _, Write as _};
    use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
    use std::path::Path;
    use std::sync::Arc;
    use std::thread;

    use rustls::crypto::aws_lc_rs::{Ticketer, cipher_suite, default_provider};
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use rustls::{CipherSuite, ServerConfig, ServerConnection, StreamOwned};
    use tempfile::TempDir;

    use super::{Tickets, Wire, believe};
    use crate::certify;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn certified() -> TempDir {
        let directory = tempfile::tempdir().unwrap();
        certify::run(&certify::Options {
            directory: directory.path().to_owned(),
            address: HERE,
        })
        .unwrap();
        directory
    }

    /// A server that prefers another cipher suite, has tickets, and sends one byte back.
    fn server(directory: &Path) -> Arc<ServerConfig> {
        let mut provider = default_provider();
        provider
            .cipher_suites
            .insert(0, cipher_suite::TLS13_AES_128_GCM_SHA256);
        let chain = CertificateDer::from_pem_file(directory.join("server.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_file(directory.join("server.key")).unwrap();
        let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![chain], key)
            .unwrap();
        config.ignore_client_order = true;
        config.ticketer = Ticketer::new().unwrap();
        Arc::new(config)
    }

    fn answer(client: TcpStream, config: Arc<ServerConfig>) -> io::Result<()> {
        let session = ServerConnection::new(config).map_err(io::Error::other)?;
        let mut tls = StreamOwned::new(session, client);
        let mut byte = [0];
        tls.read_exact(&mut byte)?;
        tls.write_all(&byte)
    }

    /// Connections one after the other, by clients that believe what is in `authority`.
    fn connect(
        shown: &Path,
        authority: &Path,
        tickets: Tickets,
        times: usize,
    ) -> io::Result<Vec<Wire>> {
        let listener = TcpListener::bind((HERE, 0))?;
        let to = listener.local_addr()?;
        let server = server(shown);
        let worker = thread::spawn(move || {
            for _ in 0..times {
                let (client, _) = listener.accept()?;
                answer(client, Arc::clone(&server))?;
            }
            io::Result::Ok(())
        });
        let config = believe(Some(&authority.join("authority.pem")), tickets)?;
        let wires = (0..times).map(|_| {
            let mut wire = Wire::over(TcpStream::connect(to)?, HERE, config.as_ref())?;
            wire.write_all(b"x")?;
            wire.read_exact(&mut [0])?;
            Ok(wire)
        });
        let wires = wires.collect::<io::Result<_>>()?;
        worker.join().unwrap()?;
        Ok(wires)
    }

    fn resumed(tickets: Tickets) -> Vec<bool> {
        let files = certified();
        let wires = connect(files.path(), files.path(), tickets, 3).unwrap();
        wires.iter().map(Wire::is_resumed).collect()
    }

    #[test]
    fn comes_back_with_the_ticket_of_the_last_time() {
        assert_eq!(resumed(Tickets::Kept), [false, true, true]);
    }

    #[test]
    fn shakes_hands_in_full_where_tickets_are_refused() {
        assert_eq!(resumed(Tickets::Refused), [false; 3]);
    }

    #[test]
    fn speaks_the_same_cipher_suite_whatever_the_balancer_prefers() {
        let files = certified();
        let wires = connect(files.path(), files.path(), Tickets::Refused, 1).unwrap();
        let [Wire::Tls(tls)] = &wires[..] else {
            panic!("not one connection over TLS");
        };
        let spoken = tls.conn.negotiated_cipher_suite().unwrap().suite();
        assert_eq!(spoken, CipherSuite::TLS13_AES_256_GCM_SHA384);
    }

    #[test]
    fn does_not_believe_what_another_authority_has_signed() {
        let [files, others] = [certified(), certified()];
        let refused = connect(files.path(), others.path(), Tickets::Refused, 1);
        let reason = refused.err().unwrap().to_string();
        assert!(reason.starts_with("invalid peer certificate"), "{reason}");
    }
}
