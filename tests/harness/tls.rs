//! TLS for tests: an authority that issues certificates, and clients that believe it.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, ProtocolVersion, RootCertStore, StreamOwned,
    SupportedProtocolVersion, version,
};
use tempfile::TempDir;

use crate::client::Client;
use crate::wire::{self, Connect};

/// Versions of TLS that are spoken.
pub const VERSIONS: [&SupportedProtocolVersion; 2] = [&version::TLS12, &version::TLS13];

/// Whoever signs certificates; its files are gone when it is dropped.
#[derive(Debug)]
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: TempDir,
}

/// A certificate and its key, as files.
#[derive(Debug, Clone)]
pub struct Issued {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::new([]).expect("no names are right");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("keys can be made");
        Self {
            issuer: CertifiedIssuer::self_signed(params, key).expect("it signs itself"),
            directory: TempDir::with_prefix("sluice-tls-").expect("there is room"),
        }
    }

    /// Its own certificate.
    pub fn file(&self) -> PathBuf {
        let path = self.directory.path().join("ca.pem");
        fs::write(&path, self.issuer.pem()).expect("there is room");
        path
    }

    /// Issues a certificate for names, in files of this name; earlier ones are written over.
    pub fn issue(&self, file: &str, names: &[&str]) -> Issued {
        self.issue_until(4000, file, names)
    }

    /// The same, to the end of a year.
    pub fn issue_until(&self, year: i32, file: &str, names: &[&str]) -> Issued {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).expect("they are names");
        params.not_after = date_time_ymd(year + 1, 1, 1);
        let key = KeyPair::generate().expect("keys can be made");
        let signed = params.signed_by(&key, &self.issuer).expect("it signs");
        let [certificate, its_key] =
            ["pem", "key"].map(|end| self.directory.path().join(file).with_extension(end));
        fs::write(&certificate, signed.pem()).expect("there is room");
        fs::write(&its_key, key.serialize_pem()).expect("there is room");
        Issued {
            certificate,
            key: its_key,
        }
    }

    /// How a client believes this authority, and this version of TLS only.
    pub fn believer(&self, version: &'static SupportedProtocolVersion) -> Believer {
        let mut roots = RootCertStore::empty();
        roots
            .add(self.issuer.der().clone())
            .expect("it is a certificate");
        Believer {
            roots: Arc::new(roots),
            version,
            alpn: Vec::new(),
            own: None,
        }
    }
}

impl Issued {
    /// Lines of `[listeners.tls]`.
    pub fn lines(&self) -> String {
        let Self { certificate, key } = self;
        format!("certificate = {certificate:?}\nkey = {key:?}")
    }
}

/// What a client brings to its handshakes.
#[derive(Debug, Clone)]
pub struct Believer {
    roots: Arc<RootCertStore>,
    version: &'static SupportedProtocolVersion,
    alpn: Vec<Vec<u8>>,
    own: Option<Issued>,
}

impl Believer {
    pub fn offer(mut self, alpn: &[&str]) -> Self {
        self.alpn = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        self
    }

    /// It shows a certificate of its own.
    pub fn showing(mut self, own: &Issued) -> Self {
        self.own = Some(own.clone());
        self
    }

    /// All of its handshakes share the tickets that they are given.
    pub fn config(&self) -> Arc<ClientConfig> {
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&[self.version])
            .expect("the provider has it")
            .with_root_certificates(Arc::clone(&self.roots));
        let mut config = match &self.own {
            None => builder.with_no_client_auth(),
            Some(own) => {
                let chain = CertificateDer::pem_file_iter(&own.certificate);
                let chain = chain.expect("it is there").map(|one| one.expect("PEM"));
                let key = PrivateKeyDer::from_pem_file(&own.key).expect("it is there");
                builder
                    .with_client_auth_cert(chain.collect(), key)
                    .expect("they belong together")
            }
        };
        config.alpn_protocols.clone_from(&self.alpn);
        Arc::new(config)
    }

    /// Connects and shakes hands, asking for a name.
    ///
    /// # Errors
    ///
    /// What TLS says of it.
    pub fn dial(&self, address: SocketAddr, name: &str) -> io::Result<Secure> {
        Secure::over(Client::dial(address).0, self.config(), name)
    }
}

/// A client over TLS.
#[derive(Debug)]
pub struct Secure(pub StreamOwned<ClientConnection, TcpStream>);

impl Secure {
    /// Shakes hands over a connection that is there.
    ///
    /// # Errors
    ///
    /// What TLS says of it.
    pub fn over(stream: TcpStream, config: Arc<ClientConfig>, name: &str) -> io::Result<Self> {
        let name = ServerName::try_from(name.to_owned()).expect("it is a name");
        let session = ClientConnection::new(config, name).map_err(io::Error::other)?;
        let mut client = StreamOwned::new(session, stream);
        while client.conn.is_handshaking() {
            client.conn.complete_io(&mut client.sock)?;
        }
        Ok(Self(client))
    }

    /// Sends a CONNECT, and expects to be accepted.
    pub fn introduce(&mut self, connect: &Connect) {
        self.send(&connect.bytes());
        let connack = self.packet();
        assert_eq!((connack[0], connack[3]), (wire::CONNACK, 0), "{connect:?}");
    }

    pub fn send(&mut self, bytes: &[u8]) {
        let sent = self.0.write_all(bytes).and_then(|()| self.0.flush());
        sent.expect("the daemon takes what is sent");
    }

    /// The next packet.
    pub fn packet(&mut self) -> Vec<u8> {
        wire::read_packet(&mut self.0).expect("a packet comes")
    }

    /// So many bytes.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.0.read_exact(&mut bytes).expect("these bytes come");
        bytes
    }

    /// All that comes until the daemon says that nothing more does.
    ///
    /// # Errors
    ///
    /// It closed without saying so (RFC 8446 section 6.1), or reset.
    pub fn rest(&mut self) -> io::Result<Vec<u8>> {
        let mut rest = Vec::new();
        self.0.read_to_end(&mut rest).map(|_| rest)
    }

    /// Says that nothing more comes, and closes the sending side.
    pub fn finish(&mut self) {
        self.0.conn.send_close_notify();
        self.0.flush().expect("the daemon reads");
        let finished = self.0.sock.shutdown(std::net::Shutdown::Write);
        finished.expect("it is connected");
    }

    pub fn version(&self) -> ProtocolVersion {
        self.0.conn.protocol_version().expect("hands are shaken")
    }

    pub fn kind(&self) -> HandshakeKind {
        self.0.conn.handshake_kind().expect("hands are shaken")
    }

    pub fn alpn(&self) -> Option<&[u8]> {
        self.0.conn.alpn_protocol()
    }

    /// The certificate that the daemon showed.
    pub fn shown(&self) -> CertificateDer<'static> {
        let chain = self.0.conn.peer_certificates().expect("it shows one");
        chain[0].clone()
    }
}
