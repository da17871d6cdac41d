//! What is known about every key, read from `conf/sluice.toml`: its table and an example.
//!
//! A test proves that the file shows every key.

use std::sync::LazyLock;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The file that documents every key.
pub(super) const TEXT: &str = include_str!("../../../../conf/sluice.toml");

static ROOT: LazyLock<DeValue<'static>> =
    LazyLock::new(|| DeValue::Table(DeTable::parse_recoverable(TEXT).0.into_inner()));

/// The keys of the table that these keys lead to; none where it is no table.
pub(super) fn keys(table: &[&str]) -> Vec<&'static str> {
    let table = find(table).and_then(DeValue::as_table);
    table.map_or_else(Vec::new, |table| {
        table.keys().map(|key| &**key.get_ref()).collect()
    })
}

/// What to write for a key: `mode = "auto"`, `[daemon]`, `[[pools.backends]]`.
pub(super) fn example(path: &[&str]) -> String {
    let Some((key, table)) = path.split_last() else {
        return String::new();
    };
    let value = find(table).and_then(|table| table.get(*key));
    match value.map(Spanned::get_ref) {
        Some(DeValue::Table(_)) => format!("[{}]", path.join(".")),
        Some(DeValue::Array(list)) if list.iter().any(|item| item.get_ref().is_table()) => {
            format!("[[{}]]", path.join("."))
        }
        _ => {
            let text = value.and_then(|value| TEXT.get(value.span()));
            format!("{key} = {}", text.unwrap_or("..."))
        }
    }
}

/// The only table that knows this key, as its header is written; `None` if there are more.
pub(super) fn home(key: &str) -> Option<Vec<&'static str>> {
    let mut homes = Vec::new();
    search(&ROOT, key, &mut Vec::new(), &mut homes);
    match homes.len() {
        1 => homes.pop(),
        _ => None,
    }
}

fn search(
    value: &'static DeValue<'static>,
    key: &str,
    way: &mut Vec<&'static str>,
    homes: &mut Vec<Vec<&'static str>>,
) {
    let Some(table) = first(value).as_table() else {
        return;
    };
    for (name, child) in table {
        if name.get_ref() == key {
            homes.push(way.clone());
        }
        way.push(name.get_ref());
        search(child.get_ref(), key, way, homes);
        way.pop();
    }
}

fn find(path: &[&str]) -> Option<&'static DeValue<'static>> {
    path.iter().try_fold(first(&ROOT), |value, key| {
        value.get(*key).map(|child| first(child.get_ref()))
    })
}

/// The first item of a list, as it shows every key; any other value itself.
fn first<'v>(value: &'v DeValue<'static>) -> &'v DeValue<'static> {
    let item = value.get(0);
    item.map_or(value, Spanned::get_ref)
}
