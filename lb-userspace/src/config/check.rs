//! From the text of a file to a `Config`, or to every complaint about it at once.
//!
//! `shape` turns the text into `File`; what it cannot read is complained about there and in `syntax`;
//! `daemon`, `limits`, `listeners`, `tls`, `pools` and `routes` look at one value at a time; `links` looks at what one value
//! says about another.

mod address;
mod daemon;
mod health;
mod limits;
mod links;
mod listeners;
mod nearest;
mod pools;
mod reference;
mod report;
mod routes;
mod rules;
mod shape;
mod syntax;
mod tls;
mod tree;

#[cfg(test)]
mod tests;

use super::Config;
use super::complaint::Complaint;

/// Believes a text, or says all that is wrong with it.
///
/// # Errors
///
/// At least one complaint; they are sorted by line.
pub fn check(text: &str) -> Result<Config, Vec<Complaint>> {
    let (file, mut report) = shape::read(text)?;

    links::check(&file, &mut report);
    let daemon = daemon::daemon(file.daemon.0, &mut report);
    let kernel = daemon::kernel(file.kernel.0, &mut report);
    let limits = limits::limits(file.limits.0, &mut report);
    let listeners = listeners::check(file.listeners, &mut report);
    let pools = pools::check(file.pools, &mut report);
    let routes = routes::check(file.routes, &mut report);

    report.finish(Config {
        daemon,
        kernel,
        limits,
        listeners,
        pools,
        routes,
    })
}
