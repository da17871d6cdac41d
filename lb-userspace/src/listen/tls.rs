//! TLS that ends here: certificates, and the handshake with a client.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::verify_server_name;
use rustls::crypto::aws_lc_rs::{Ticketer, default_provider};
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{
    ClientHello, ParsedCertificate, ResolvesServerCert, VerifierBuilderError, WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};
use thiserror::Error;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::config;

/// Tickets for a client, which makes one connection (RFC 8446 section 4.6.1).
const TICKETS: usize = 1;

/// What a listener needs to end TLS.
pub struct Tls {
    acceptor: TlsAcceptor,
    certificates: Arc<Certificates>,
}

/// Why a listener cannot end TLS.
#[derive(Debug, Error)]
pub enum Unusable {
    #[error("{path}: could not be read: {}", said(why))]
    File { path: PathBuf, why: pem::Error },
    #[error("{path}: has no certificate; write the chain in PEM, the server's own first")]
    NoCertificate { path: PathBuf },
    #[error("{path}: is not the key of the first certificate in {chain}", chain = chain.display())]
    OtherKey { path: PathBuf, chain: PathBuf },
    #[error("{path}: cannot be used: {why}")]
    Content { path: PathBuf, why: rustls::Error },
    #[error("{path}: cannot be used: {why}")]
    Roots {
        path: PathBuf,
        why: VerifierBuilderError,
    },
    #[error("TLS cannot be used here: {0}")]
    Here(rustls::Error),
}

fn said(error: &pem::Error) -> String {
    if let pem::Error::Io(error) = error {
        error.to_string()
    } else if let pem::Error::NoItemsFound = error {
        "it holds nothing of this kind in PEM".to_owned()
    } else {
        error.to_string()
    }
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    ///
    /// A file cannot be read, or what is in it cannot be used.
    pub fn load(config: &config::Tls) -> Result<Self, Unusable> {
        let certificates = config.certificates.iter().map(certified);
        let certificates = Arc::new(Certificates(certificates.collect::<Result<_, _>>()?));
        let builder = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(Unusable::Here)?;
        let builder = match &config.client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => builder.with_client_cert_verifier(verifier(path)?),
        };
        let shown: Arc<dyn ResolvesServerCert> = Arc::<Certificates>::clone(&certificates);
        let mut server = builder.with_cert_resolver(shown);
        server.alpn_protocols = config.alpn.iter().map(|name| name.clone().into()).collect();
        // What a ticket vouches for was checked by the rules of its time, so each configuration has
        // tickets of its own.
        server.ticketer = Ticketer::new().map_err(Unusable::Here)?;
        server.send_tls13_tickets = TICKETS;
        Ok(Self {
            acceptor: Arc::new(server).into(),
            certificates,
        })
    }

    /// Whether the other one shows clients the same certificates.
    pub fn shows_the_same(&self, other: &Self) -> bool {
        let [these, those] = [self, other].map(|tls| tls.certificates.0.iter());
        let chain = |one: &Arc<CertifiedKey>| one.cert.clone();
        these.map(chain).eq(those.map(chain))
    }

    /// When the first of the certificates expires, in seconds of Unix time; nothing where none says so in a
    /// way that can be read (RFC 5280 section 4.1.2.5).
    pub fn expires(&self) -> Option<u64> {
        self.certificates
            .0
            .iter()
            .filter_map(|one| expires(one))
            .min()
    }

    /// Shakes hands; a client that does not is told why by an alert (RFC 8446 section 6).
    ///
    /// # Errors
    ///
    /// Why there is no TLS with this client, and its connection.
    pub async fn accept(
        &self,
        client: TcpStream,
    ) -> Result<TlsStream<TcpStream>, (io::Error, TcpStream)> {
        self.acceptor.accept(client).into_fallible().await
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

/// What a server can show; the first is for clients that ask for a name that none is for.
#[derive(Debug)]
struct Certificates(Vec<Arc<CertifiedKey>>);

impl ResolvesServerCert for Certificates {
    fn resolve(&self, client_hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = client_hello.server_name().map(ServerName::try_from);
        let is_for = |one: &&Arc<CertifiedKey>| match &name {
            Some(Ok(name)) => is_for(one, name),
            Some(Err(_)) | None => false,
        };
        let can_sign = |one: &&Arc<CertifiedKey>| {
            let schemes = client_hello.signature_schemes();
            one.key.choose_scheme(schemes).is_some()
        };
        let usable = || self.0.iter().filter(can_sign);
        usable().find(is_for).or_else(|| usable().next()).cloned()
    }
}

/// Whether a certificate is for this name (RFC 9525).
fn is_for(key: &CertifiedKey, name: &ServerName<'_>) -> bool {
    let own = key.cert.first().map(ParsedCertificate::try_from);
    matches!(own, Some(Ok(own)) if verify_server_name(&own, name).is_ok())
}

/// The end of the server's own certificate; what is behind it in the chain may be there for old clients
/// alone.
fn expires(key: &CertifiedKey) -> Option<u64> {
    let (_, own) = x509_parser::parse_x509_certificate(key.cert.first()?).ok()?;
    // What was over in 1970 is over.
    Some(own.validity().not_after.timestamp().try_into().unwrap_or(0))
}

/// Reads a chain and its key, and sees whether they belong to each other.
fn certified(config: &config::Certificate) -> Result<Arc<CertifiedKey>, Unusable> {
    let chain = certificates(&config.chain)?;
    let path = &config.key;
    let key = PrivateKeyDer::from_pem_file(path).map_err(|why| Unusable::File {
        path: path.clone(),
        why,
    })?;
    let provider = default_provider();
    let key = CertifiedKey::from_der(chain, key, &provider).map_err(|why| {
        let chain = config.chain.clone();
        let path = path.clone();
        if let rustls::Error::InconsistentKeys(_) = why {
            Unusable::OtherKey { path, chain }
        } else if let rustls::Error::InvalidCertificate(_) = why {
            let path = chain;
            Unusable::Content { path, why }
        } else {
            Unusable::Content { path, why }
        }
    })?;
    Ok(Arc::new(key))
}

fn verifier(path: &Path) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, Unusable> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|why| Unusable::Content {
            path: path.to_owned(),
            why,
        })?;
    }
    let provider = Arc::new(default_provider());
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|why| Unusable::Roots {
            path: path.to_owned(),
            why,
        })
}

/// At least one.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Unusable> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    let read: Vec<_> = read.map_err(|why| Unusable::File {
        path: path.to_owned(),
        why,
    })?;
    if read.is_empty() {
        return Err(Unusable::NoCertificate {
            path: path.to_owned(),
        });
    }
    Ok(read)
}
