//! Certificates for the balancers: an authority, and what it signs.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use clap::Args;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

#[derive(Args)]
pub(crate) struct Options {
    /// Where `authority.pem`, `server.pem`, `server.key` and both of them as `both.pem` are written
    #[arg(long)]
    pub(crate) directory: PathBuf,
    /// The address that clients connect to
    #[arg(long)]
    pub(crate) address: IpAddr,
}

/// Keys are of P-256.
pub(crate) fn run(options: &Options) -> io::Result<()> {
    let (authority, server, key) = make(options.address).map_err(io::Error::other)?;
    let write = |name: &str, text: &str| write_secret(&options.directory.join(name), text);
    write("authority.pem", &authority)?;
    write("server.pem", &server)?;
    write("server.key", &key)?;
    write("both.pem", &(server + &key))
}

fn make(address: IpAddr) -> Result<(String, String, String), rcgen::Error> {
    let mut params = CertificateParams::new([])?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    let key = KeyPair::generate()?;
    let server = CertificateParams::new([address.to_string()])?;
    let server = server.signed_by(&key, &authority)?;
    Ok((authority.pem(), server.pem(), key.serialize_pem()))
}

/// For its owner alone.
fn write_secret(path: &Path, text: &str) -> io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut file = std::fs::File::options();
    file.write(true).create(true).truncate(true).mode(0o600);
    file.open(path)?.write_all(text.as_bytes())
}
