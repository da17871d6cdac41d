//! `[[listeners]]`: each one by itself.

use toml::Spanned;

use super::report::{self, Report};
use super::{address, rules};
use crate::config::file::{self, Table};
use crate::config::{DataPath, Listener, default};

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
    }) = written.into_inner();
    let name = report.required(&owner, "name", name, |text| rules::name(text));
    if bind.is_empty() {
        report.missing(&owner, "bind");
    }
    let bind = report.each(&bind, |text| address::listen(text));
    let pool = report.required(&owner, "pool", pool, |text| Ok(text.clone()));
    let datapath = report.optional(datapath, default::DATAPATH, |text| {
        rules::choice(text, &DATAPATHS)
    });

    Some(Listener {
        name: name?,
        bind,
        pool: pool?,
        datapath,
    })
}

const DATAPATHS: [(&str, DataPath); 4] = [
    ("auto", DataPath::Auto),
    ("splice", DataPath::Splice),
    ("sockmap", DataPath::Sockmap),
    ("copy", DataPath::Copy),
];
