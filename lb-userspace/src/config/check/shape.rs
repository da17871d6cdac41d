//! From text to `File`: syntax, unknown keys and wrong types.
//!
//! serde stops at the first mistake. So each one is complained about and taken out of the tree
//! (or given the name that was meant), and serde tries again, until it is content.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue, Error};

use super::nearest::nearest;
use super::reference;
use super::report::Report;
use super::syntax;
use super::tree::{self, Path};
use crate::config::complaint::{Complaint, Fault};
use crate::config::file::File;

/// What is right in the text, and complaints about the rest.
///
/// # Errors
///
/// Complaints about syntax; then nothing else in the text can be trusted.
pub(super) fn read(text: &str) -> Result<(File, Report<'_>), Vec<Complaint>> {
    let (root, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        return Err(syntax::complaints(text, &errors));
    }
    let span = root.span();
    let mut root = DeValue::Table(root.into_inner());
    let mut report = Report::new(text, root.clone());

    loop {
        let whole = Spanned::new(span.clone(), root.clone());
        let error = match File::read(whole) {
            Ok(file) => return Ok((file, report)),
            Err(error) => error,
        };
        if mend(&mut root, &error, &mut report).is_none() {
            let start = error.span().unwrap_or_default().start;
            let fault = Fault::new(error.message(), "compare it with conf/sluice.toml");
            report.add(&Path::default(), start, fault);
            return Err(report.into_list());
        }
    }
}

/// Complains about what serde stumbled over, and takes it out of the tree.
///
/// `None` if it is not in the tree; then trying again would not help.
fn mend(root: &mut DeValue<'_>, error: &Error, report: &mut Report<'_>) -> Option<()> {
    let span = error.span()?;
    if error.message().starts_with("unknown field") {
        unknown_key(root, &span, report)
    } else {
        wrong_type(root, &span, error.message(), report)
    }
}

fn unknown_key(root: &mut DeValue<'_>, span: &Range<usize>, report: &mut Report<'_>) -> Option<()> {
    let (path, _) = tree::locate(root, span, |_| true)?;
    let keys = path.keys();
    let (key, table) = keys.split_last()?;
    let present = |other: &str| tree::at(root, &path.sibling(other)).is_some();
    let free = reference::keys(table)
        .into_iter()
        .filter(|known| !present(known));
    let meant = nearest(key, free);
    let fault = unknown_key_fault(key, table, meant);
    let shown = report.path(span);
    report.add(&shown, span.start, fault);

    if let Some(meant) = meant {
        tree::rename(root, &path, meant);
        report.rename(&shown, meant);
    } else {
        tree::remove(root, &path);
        report.lose(shown);
    }
    Some(())
}

fn unknown_key_fault(key: &str, table: &[&str], meant: Option<&str>) -> Fault {
    if let Some(meant) = meant {
        return Fault::new("unknown key", format!("did you mean {meant}?"));
    }
    let Some(home) = reference::home(key) else {
        let remedy = match reference::keys(table).join(", ") {
            // The reference shows an empty list.
            known if known.is_empty() => "remove it".to_owned(),
            known => format!("remove it; known here are {known}"),
        };
        return Fault::new("unknown key", remedy);
    };
    let path: Vec<_> = home.iter().copied().chain([key]).collect();
    let example = reference::example(&path);
    let remedy = if example.starts_with('[') {
        format!("write it as {example}")
    } else {
        format!("move it to {}", reference::example(&home))
    };
    Fault::new("not known here", remedy)
}

fn wrong_type(
    root: &mut DeValue<'_>,
    span: &Range<usize>,
    message: &str,
    report: &mut Report<'_>,
) -> Option<()> {
    let expected = match message.rsplit_once("expected ") {
        Some((_, "a sequence")) => "a list",
        Some((_, "i64")) => "a whole number",
        Some((_, other)) => other,
        None => "a string with a unit",
    };
    let (path, value) = tree::locate(root, span, |value| {
        kind(value) != expected || value.is_integer()
    })?;
    let problem = match kind(value) {
        found if found == expected => "is too large".to_owned(),
        found => format!("is {found}, not {expected}"),
    };
    let remedy = wrong_type_remedy(&path, value, expected);
    let shown = report.path_where(span, |written| written.same_type(value));
    let problem = format!("{} {problem}", report.snippet(span));
    report.add(&shown, span.start, Fault::new(problem, remedy));
    report.lose(shown);
    tree::remove(root, &path);

    Some(())
}

/// The same value in the right clothes where that is clear, else an example.
fn wrong_type_remedy(path: &Path, value: &DeValue<'_>, expected: &str) -> String {
    let keys = path.keys();
    let key = keys.last().copied().unwrap_or_default();
    match (value.as_str(), expected) {
        (Some(number), "a whole number") if number.parse::<i64>().is_ok() => {
            format!("write {key} = {number}")
        }
        (Some(item), "a list") if !reference::example(&keys).starts_with('[') => {
            format!("write {key} = [{item:?}]")
        }
        (Some(address), "a table") if key == "backends" => {
            format!("write {{ name = \"broker-1\", address = {address:?} }}")
        }
        _ => format!("write it like {}", reference::example(&keys)),
    }
}

/// What a value is, in the words of serde's expectations.
fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
