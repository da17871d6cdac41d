//! `[listeners.tls]`, by itself.

use std::path::PathBuf;

use toml::Spanned;

use super::report::Report;
use super::rules;
use crate::config::complaint::Fault;
use crate::config::file::{self, Table};
use crate::config::{Certificate, Tls};

/// None where no certificate is named: then clients speak plain MQTT.
pub(super) fn check(written: Spanned<Table<file::Tls>>, report: &mut Report<'_>) -> Option<Tls> {
    let Table(file::Tls {
        certificate,
        key,
        alpn,
        client_ca,
        more,
    }) = written.into_inner();
    let asks = client_ca.as_ref().map(Spanned::span);
    let offers = alpn.first().map(Spanned::span);
    let others = more.first().map(Spanned::span);
    let first = self::certificate(certificate, key, report);
    let alpn = report.each(&alpn, |text| rules::alpn(text));
    let client_ca = path(client_ca, CLIENT_CA, report);
    let more = more.into_iter().map(|one| {
        let owner = one.span();
        let Table(file::Certificate { certificate, key }) = one.into_inner();
        let pair = self::certificate(certificate, key, report);
        if let Pair::None = pair {
            report.missing(&owner, "certificate");
        }
        pair
    });
    let more: Vec<_> = more.collect();
    let Pair::Whole(first) = first else {
        let asks = asks.filter(|_| client_ca.is_some());
        if let (Pair::None, Some(at)) = (first, asks.or(offers).or(others)) {
            let remedy =
                "write the certificate that clients without a better one see in certificate";
            report.complain(at, Fault::new("has no certificate beside it", remedy));
        }
        return None;
    };
    let more = more.into_iter().filter_map(|one| match one {
        Pair::Whole(certificate) => Some(certificate),
        Pair::None | Pair::Broken => None,
    });
    Some(Tls {
        certificates: [first].into_iter().chain(more).collect(),
        alpn,
        client_ca,
    })
}

/// A certificate and its key, as far as they are there.
enum Pair {
    None,
    /// It has been complained about.
    Broken,
    Whole(Certificate),
}

fn certificate(
    certificate: file::Value<String>,
    key: file::Value<String>,
    report: &mut Report<'_>,
) -> Pair {
    let is_written = [&certificate, &key].map(|path| {
        let path = path.as_ref().filter(|path| !path.get_ref().is_empty());
        path.map(Spanned::span)
    });
    let chain = path(certificate, CERTIFICATE, report);
    let key = path(key, KEY, report);
    match (is_written, chain, key) {
        (_, Some(chain), Some(key)) => Pair::Whole(Certificate { chain, key }),
        ([None, None], ..) => Pair::None,
        ([Some(at), None], ..) => {
            let remedy = format!("add a line such as key = {KEY:?}");
            report.complain(at, Fault::new("has no key beside it", remedy));
            Pair::Broken
        }
        ([None, Some(at)], ..) => {
            let remedy = format!("add a line such as certificate = {CERTIFICATE:?}");
            report.complain(at, Fault::new("has no certificate beside it", remedy));
            Pair::Broken
        }
        ([Some(_), Some(_)], ..) => Pair::Broken,
    }
}

/// An empty one is none.
fn path(written: file::Value<String>, example: &str, report: &mut Report<'_>) -> Option<PathBuf> {
    report.optional(written, None, |text| match text.as_str() {
        "" => Ok(None),
        path => rules::absolute(path, example).map(Some),
    })
}

const CERTIFICATE: &str = "/etc/sluice/tls.pem";
const KEY: &str = "/etc/sluice/tls.key";
const CLIENT_CA: &str = "/etc/sluice/clients-ca.pem";
