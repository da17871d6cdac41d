//! What one part of the file says about another: names that clash or lead nowhere, loops.

use std::collections::HashMap;
use std::net::SocketAddr;

use toml::Spanned;

use super::nearest::nearest;
use super::report::Report;
use super::{address, rules};
use crate::config::complaint::Fault;
use crate::config::file::{File, Table};
use crate::config::{Host, HostPort};

pub(super) fn check(file: &File, report: &mut Report<'_>) {
    let listeners = || file.listeners.iter().map(|one| &one.get_ref().0);
    let pools = || file.pools.iter().map(|one| &one.get_ref().0);
    let backends = || pools().flat_map(|pool| pool.backends.iter().map(|one| &one.get_ref().0));
    let routes = || file.routes.iter().map(|one| &one.get_ref().0);
    let pool_names: Vec<_> = pools().filter_map(|pool| pool.name.as_ref()).collect();

    unique(listeners().filter_map(|one| one.name.as_ref()), report);
    unique(pool_names.iter().copied(), report);
    unique(backends().filter_map(|one| one.name.as_ref()), report);
    unique(routes().filter_map(|one| one.name.as_ref()), report);
    unique(&file.kernel.0.interfaces, report);
    backends().for_each(|one| unique(&one.source_addresses, report));

    let nameless = pool_names.is_empty() || pools().any(|pool| pool.name.is_none());
    if !nameless && !report.lost_a_pool_name() {
        let wanted = listeners().filter_map(|one| one.pool.as_ref());
        let routed = routes().filter_map(|one| one.pool.as_ref());
        exist("pool", wanted.chain(routed), &pool_names, report);
    }

    let listener_names: Vec<_> = listeners().filter_map(|one| one.name.as_ref()).collect();
    if !listener_names.is_empty() && listeners().all(|one| one.name.is_some()) {
        let wanted = routes().flat_map(|one| &one.listeners);
        exist("listener", wanted, &listener_names, report);
    }

    by_tls(file, report);

    let binds = listeners().flat_map(|one| &one.bind);
    let binds: Vec<_> = binds
        .filter_map(|text| parsed(text, address::listen))
        .collect();
    no_overlap(&binds, report);

    let addresses = backends().filter_map(|one| one.address.as_ref());
    for address in addresses.filter_map(|text| parsed(text, address::backend)) {
        no_loop(&address, &binds, report);
    }
}

/// What a route says of TLS has to be something that a listener can find out.
fn by_tls(file: &File, report: &mut Report<'_>) {
    let listeners = file.listeners.iter().map(|one| &one.get_ref().0);
    let ends_tls = listeners
        .filter_map(|one| Some(&one.tls.as_ref()?.get_ref().0))
        .filter(|tls| tls.certificate.is_some());
    let ends_tls: Vec<_> = ends_tls.collect();
    let offered: Vec<_> = ends_tls.iter().flat_map(|tls| &tls.alpn).collect();
    for route in &file.routes {
        let Table(route) = route.get_ref();
        let of_names = route.sni.iter().chain(&route.sni_glob);
        if let (true, Some(name)) = (ends_tls.is_empty(), of_names.chain(&route.alpn).next()) {
            let problem = "is matched by nobody, as no listener ends TLS";
            let remedy = "name a certificate and its key in [listeners.tls], or remove the line";
            report.complain(name.span(), Fault::new(problem, remedy));
            continue;
        }
        let is_offered = |name: &str| offered.iter().any(|one| one.get_ref() == name);
        for name in route.alpn.iter().filter(|one| !is_offered(one.get_ref())) {
            let problem = "is agreed on by no listener";
            let remedy = "add it to alpn of [listeners.tls], or remove it";
            report.complain(name.span(), Fault::new(problem, remedy));
        }
    }
}

/// Leaves out what is wrong by itself, as somebody else complains about it.
fn parsed<T>(
    text: &Spanned<String>,
    parse: impl Fn(&str) -> Result<T, Fault>,
) -> Option<Spanned<T>> {
    let value = parse(text.get_ref()).ok()?;
    Some(Spanned::new(text.span(), value))
}

fn unique<'f>(names: impl IntoIterator<Item = &'f Spanned<String>>, report: &mut Report<'_>) {
    let mut first = HashMap::new();
    for name in names {
        let earlier = *first.entry(name.get_ref().as_str()).or_insert(name);
        if earlier.span() != name.span() {
            let problem = format!("is the same as {}", place(earlier, report));
            report.complain(
                name.span(),
                Fault::new(problem, "write another name, or remove one of them"),
            );
        }
    }
}

fn exist<'f>(
    what: &str,
    wanted: impl Iterator<Item = &'f Spanned<String>>,
    there: &[&'f Spanned<String>],
    report: &mut Report<'_>,
) {
    let names: Vec<_> = there.iter().map(|name| name.get_ref().as_str()).collect();
    for name in wanted {
        let text = name.get_ref().as_str();
        if names.contains(&text) {
            continue;
        }
        let remedy = match nearest(text, names.iter().copied()) {
            Some(meant) => format!("did you mean {meant:?}?"),
            None => format!(
                "write {}, or add a {what} of this name",
                rules::either(names.iter().copied())
            ),
        };
        report.complain(
            name.span(),
            Fault::new(format!("is not the name of a {what}"), remedy),
        );
    }
}

fn no_overlap(binds: &[Spanned<SocketAddr>], report: &mut Report<'_>) {
    for (position, bind) in binds.iter().enumerate() {
        let mut earlier = binds[..position].iter();
        if let Some(earlier) = earlier.find(|earlier| overlap(earlier.get_ref(), bind.get_ref())) {
            let problem = format!(
                "overlaps {} of {}",
                report.snippet(&earlier.span()),
                place(earlier, report)
            );
            let fault = Fault::new(problem, "remove one of them, or write another port");
            report.complain(bind.span(), fault);
        }
    }
}

fn overlap(a: &SocketAddr, b: &SocketAddr) -> bool {
    let all = a.ip().is_unspecified() || b.ip().is_unspecified();

    a.port() == b.port() && a.is_ipv4() == b.is_ipv4() && (all || a.ip() == b.ip())
}

fn no_loop(address: &Spanned<HostPort>, binds: &[Spanned<SocketAddr>], report: &mut Report<'_>) {
    let mut binds = binds.iter();
    if let Some(bind) = binds.find(|bind| leads_to(address.get_ref(), bind.get_ref())) {
        let problem = format!("leads back to {}", place(bind, report));
        let remedy = "write the address of a broker; Sluice itself listens on this one";
        report.complain(address.span(), Fault::new(problem, remedy));
    }
}

/// Whether a connection to `address` surely arrives at `bind`. Of the addresses of this machine
/// only the loopback ones are known here.
fn leads_to(address: &HostPort, bind: &SocketAddr) -> bool {
    let every = bind.ip().is_unspecified();
    let here = match &address.host {
        Host::Ip(ip) => {
            let covered = every && ip.is_loopback() && ip.is_ipv4() == bind.is_ipv4();
            covered || *ip == bind.ip()
        }
        Host::Name(name) => {
            name.eq_ignore_ascii_case("localhost") && (every || bind.ip().is_loopback())
        }
    };

    here && address.port.get() == bind.port()
}

fn place<T>(value: &Spanned<T>, report: &Report<'_>) -> String {
    let span = value.span();
    format!("{} in line {}", report.path(&span), report.line(&span))
}
