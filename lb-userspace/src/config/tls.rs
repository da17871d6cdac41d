//! TLS as a listener ends it.

use std::path::PathBuf;

/// How a listener ends TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// At least one; the first is for clients that ask for a name that none is for.
    pub certificates: Vec<Certificate>,
    /// Application protocols that are agreed on, the best first, 1 to 255 bytes each; none is whatever a
    /// client offers.
    pub alpn: Vec<String>,
    /// Whoever signs the certificates that clients must show; `None` is that none is asked for.
    pub client_ca: Option<PathBuf>,
}

impl Tls {
    /// Every file it names.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let shown = self.certificates.iter();
        let shown = shown.flat_map(|one| [&one.chain, &one.key]);
        shown.chain(&self.client_ca)
    }
}

/// Absolute paths of PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The certificate of the server, and those between it and a root.
    pub chain: PathBuf,
    pub key: PathBuf,
}
