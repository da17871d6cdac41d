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
        sni,
        sni_glob,
        alpn,
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
    let server_names = [
        report.each(&sni, |text| Ok(Pattern::Exact(server_name(text)?))),
        report.each(&sni_glob, |text| Ok(Pattern::Glob(server_name(text)?))),
    ];
    let alpn = report.each(&alpn, |text| rules::alpn(text));
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
        server_names: server_names.concat(),
        alpn,
        client_ids: client_ids.concat(),
        user_names: user_names.concat(),
        versions,
        clean,
        sources,
    })
}

/// RFC 6066 section 3: a DNS name in ASCII, without a dot at the end; its case says nothing.
fn server_name(text: &str) -> Result<String, Fault> {
    let is_of_a_name = |c: char| c.is_ascii_alphanumeric() || "-._*?".contains(c);
    if text.is_empty() || text.ends_with('.') || !text.chars().all(is_of_a_name) {
        let remedy =
            "write a DNS name such as \"mqtt.example.org\", one beyond ASCII as \"xn--...\"";
        return Err(Fault::new("is no name that a TLS client asks for", remedy));
    }
    Ok(short(text)?.to_ascii_lowercase())
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
