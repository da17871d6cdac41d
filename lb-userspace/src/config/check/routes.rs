//! `[[routes]]`: each one by itself.

use toml::Spanned;

use super::report::Report;
use super::rules;
use crate::config::complaint::Fault;
use crate::config::file::{self, Table};
use crate::config::network::Network;
use crate::config::pattern::{Expression, Pattern};
use crate::config::{Clean, Route, default};

/// The routes that are right.
pub(super) fn check(
    written: Vec<Spanned<Table<file::Route>>>,
    report: &mut Report<'_>,
) -> Vec<Route> {
    written
        .into_iter()
        .filter_map(|one| route(one, report))
        .collect()
}

fn route(written: Spanned<Table<file::Route>>, report: &mut Report<'_>) -> Option<Route> {
    let owner = written.span();
    let Table(file::Route {
        name,
        pool,
        listeners,
        client_id,
        client_id_prefix,
        client_id_glob,
        client_id_regex,
        user_name,
        user_name_prefix,
        user_name_glob,
        versions,
        clean,
        source,
    }) = written.into_inner();
    let name = report.required(&owner, "name", name, |text| rules::name(text));
    let pool = report.required(&owner, "pool", pool, |text| Ok(text.clone()));
    let listeners = report.each(&listeners, |text| Ok(text.clone()));
    let client_ids = [
        report.each(&client_id, |text| Ok(Pattern::Exact(short(text)?))),
        report.each(&client_id_prefix, |text| Ok(Pattern::Prefix(short(text)?))),
        report.each(&client_id_glob, |text| Ok(Pattern::Glob(short(text)?))),
        report.each(&client_id_regex, |text| expression(text)),
    ];
    let user_names = [
        report.each(&user_name, |text| Ok(Pattern::Exact(short(text)?))),
        report.each(&user_name_prefix, |text| Ok(Pattern::Prefix(short(text)?))),
        report.each(&user_name_glob, |text| Ok(Pattern::Glob(short(text)?))),
    ];
    let versions = report.each(&versions, |text| rules::choice(text, &rules::VERSIONS));
    let clean = report.optional(clean, default::CLEAN, |text| rules::choice(text, &CLEANS));
    let sources = report.each(&source, |text| Network::parse(text));

    Some(Route {
        name: name?,
        pool: pool?,
        listeners,
        client_ids: client_ids.concat(),
        user_names: user_names.concat(),
        versions,
        clean,
        sources,
    })
}

fn short(text: &str) -> Result<String, Fault> {
    if text.len() > PATTERN_BYTES {
        let problem = format!("is {} bytes long", text.len());
        return Err(Fault::new(problem, "write at most 1024 bytes"));
    }
    Ok(text.to_owned())
}

fn expression(text: &str) -> Result<Pattern, Fault> {
    let built = Expression::new(&short(text)?);
    built.map(Pattern::Expression).map_err(|why| {
        let remedy =
            "write one in the syntax of Rust's regex, with ^ and $ where it shall be the whole id";
        Fault::new(format!("is no usable expression: {why}"), remedy)
    })
}

const PATTERN_BYTES: usize = 1024;

const CLEANS: [(&str, Clean); 3] = [("any", Clean::Any), ("no", Clean::No), ("yes", Clean::Yes)];
