//! `[[listeners]]`: each one by itself.

use toml::Spanned;

use super::report::{self, Report};
use super::{address, rules, tls};
use crate::config::complaint::Fault;
use crate::config::file::{self, Table};
use crate::config::{DataPath, Listener, default};
use crate::mqtt::Version;

/// The listeners that are right; at least one, or a complaint.
pub(super) fn check(
    written: Vec<Spanned<Table<file::Listener>>>,
    report: &mut Report<'_>,
) -> Vec<Listener> {
    if written.is_empty() {
        report.missing(&report::ROOT, "listeners");
    }
    written
        .into_iter()
        .filter_map(|one| listener(one, report))
        .collect()
}

fn listener(written: Spanned<Table<file::Listener>>, report: &mut Report<'_>) -> Option<Listener> {
    let owner = written.span();
    let Table(file::Listener {
        name,
        bind,
        pool,
        datapath,
        tls,
        max_connections,
        connect_rate,
        versions,
    }) = written.into_inner();
    let name = report.required(&owner, "name", name, |text| rules::name(text));
    if bind.is_empty() {
        report.missing(&owner, "bind");
    }
    let bind = report.each(&bind, |text| address::listen(text));
    let pool = report.required(&owner, "pool", pool, |text| Ok(text.clone()));
    let datapath_at = datapath.as_ref().map(Spanned::span);
    let datapath = report.optional(datapath, default::DATAPATH, |text| {
        rules::choice(text, &DATAPATHS)
    });
    let tls = tls.and_then(|tls| tls::check(tls, report));
    if let (Some(_), DataPath::Splice | DataPath::Sockmap, Some(at)) = (&tls, datapath, datapath_at)
    {
        let problem = "cannot be had with TLS, which is ended in the daemon";
        let remedy = "write \"copy\", or remove the line";
        report.complain(at, Fault::new(problem, remedy));
    }

    let max_connections = report.optional(max_connections, None, rules::most);
    let connect_rate = report.optional(connect_rate, None, rules::rate);
    let versions = self::versions(versions, report);

    Some(Listener {
        name: name?,
        bind,
        pool: pool?,
        datapath,
        tls,
        max_connections,
        connect_rate,
        versions,
    })
}

/// All of them where the key is left out; one that is there twice is meant once.
fn versions(written: file::Value<Vec<Spanned<String>>>, report: &mut Report<'_>) -> Vec<Version> {
    let Some(written) = written else {
        return default::VERSIONS.to_vec();
    };
    if written.get_ref().is_empty() {
        let remedy = "write at least one of \"3.1\", \"3.1.1\" and \"5.0\", or remove the line";
        report.complain(written.span(), Fault::new("lets no client in", remedy));
    }
    let mut versions = report.each(written.get_ref(), |text| {
        rules::choice(text, &rules::VERSIONS)
    });
    versions.sort_by_key(|version| version.level());
    versions.dedup();
    versions
}

const DATAPATHS: [(&str, DataPath); 4] = [
    ("auto", DataPath::Auto),
    ("splice", DataPath::Splice),
    ("sockmap", DataPath::Sockmap),
    ("copy", DataPath::Copy),
];
