//! Places in a TOML tree: their paths, finding one by its span, taking one out.

use std::fmt;
use std::mem;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeArray, DeValue};

/// The way from the root to a value: `pools[0].backends[2].weight`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Path(Vec<Step>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Key(String),
    Index(usize),
}

impl Path {
    pub(super) fn key(&self, key: &str) -> Self {
        self.then(Step::Key(key.to_owned()))
    }

    fn index(&self, index: usize) -> Self {
        self.then(Step::Index(index))
    }

    /// Another key of the same table.
    pub(super) fn sibling(&self, key: &str) -> Self {
        let way = self.0.split_last().map_or(&[][..], |(_, way)| way);
        Self(way.to_vec()).key(key)
    }

    fn then(&self, step: Step) -> Self {
        Self(self.0.iter().cloned().chain([step]).collect())
    }

    pub(super) fn starts_with(&self, other: &Self) -> bool {
        self.0.starts_with(&other.0)
    }

    /// The keys alone, as positions in lists do not matter to what a key means.
    pub(super) fn keys(&self) -> Vec<&str> {
        let keys = self.0.iter().filter_map(|step| match step {
            Step::Key(key) => Some(key.as_str()),
            Step::Index(_) => None,
        });
        keys.collect()
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, step) in self.0.iter().enumerate() {
            match step {
                Step::Index(index) => write!(f, "[{index}]")?,
                Step::Key(key) => {
                    let dot = if position == 0 { "" } else { "." };
                    write!(f, "{dot}{}", quoted(key))?;
                }
            }
        }
        Ok(())
    }
}

/// The key as it has to be written in TOML.
fn quoted(key: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !key.is_empty() && key.chars().all(bare) {
        key.to_owned()
    } else {
        format!("{key:?}")
    }
}

/// The deepest place whose key or value has this span and whose value is `wanted`.
///
/// A list of tables has the span of its first table, so a span alone can mean both.
pub(super) fn locate<'v, 't>(
    root: &'v DeValue<'t>,
    span: &Range<usize>,
    wanted: impl Fn(&DeValue<'t>) -> bool,
) -> Option<(Path, &'v DeValue<'t>)> {
    let mut found = None;
    walk(root, Path::default(), &mut |path, key, value| {
        if (key == Some(span) || value.span() == *span) && wanted(value.get_ref()) {
            found = Some((path.clone(), value.get_ref()));
        }
    });
    found
}

/// Visits every place below `value`, parents first.
fn walk<'v, 't>(
    value: &'v DeValue<'t>,
    path: Path,
    visit: &mut impl FnMut(&Path, Option<&Range<usize>>, &'v Spanned<DeValue<'t>>),
) {
    if let Some(table) = value.as_table() {
        for (key, child) in table {
            let path = path.key(key.get_ref());
            visit(&path, Some(&key.span()), child);
            walk(child.get_ref(), path, visit);
        }
    }
    if let Some(list) = value.as_array() {
        for (index, child) in list.iter().enumerate() {
            let path = path.index(index);
            visit(&path, None, child);
            walk(child.get_ref(), path, visit);
        }
    }
}

/// The place at the end of `path`.
pub(super) fn at<'v, 't>(root: &'v DeValue<'t>, path: &Path) -> Option<&'v Spanned<DeValue<'t>>> {
    let (last, way) = path.0.split_last()?;
    let owner = way
        .iter()
        .try_fold(root, |value, step| child(value, step).map(Spanned::get_ref))?;
    child(owner, last)
}

fn child<'v, 't>(value: &'v DeValue<'t>, step: &Step) -> Option<&'v Spanned<DeValue<'t>>> {
    match step {
        Step::Key(key) => value.get(key.as_str()),
        Step::Index(index) => value.get(*index),
    }
}

/// Takes out what stands at the end of `path`; does nothing where nothing stands.
pub(super) fn remove(root: &mut DeValue<'_>, path: &Path) {
    edit(root, &path.0, None);
}

/// Gives the key at the end of `path` another name; its value stays what it is.
pub(super) fn rename(root: &mut DeValue<'_>, path: &Path, name: &str) {
    edit(root, &path.0, Some(name));
}

fn edit(value: &mut DeValue<'_>, steps: &[Step], name: Option<&str>) {
    let Some((step, rest)) = steps.split_first() else {
        return;
    };
    match (value, step) {
        (DeValue::Table(table), Step::Key(key)) if rest.is_empty() => {
            let taken = table.remove_entry(key.as_str());
            if let (Some((key, value)), Some(name)) = (taken, name) {
                table.insert(Spanned::new(key.span(), name.to_owned().into()), value);
            }
        }
        (DeValue::Table(table), Step::Key(key)) => {
            if let Some(child) = table.get_mut(key.as_str()) {
                edit(child.get_mut(), rest, name);
            }
        }
        (DeValue::Array(list), Step::Index(index)) if rest.is_empty() => {
            let kept = mem::replace(list, DeArray::new()).into_iter().enumerate();
            *list = kept.filter(|(i, _)| i != index).map(|(_, v)| v).collect();
        }
        (DeValue::Array(list), Step::Index(index)) => {
            if let Some(child) = list.get_mut(*index) {
                edit(child.get_mut(), rest, name);
            }
        }
        _ => {}
    }
}
