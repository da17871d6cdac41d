//! The complaints so far, and the three ways a value becomes part of the configuration.

use std::ops::Range;

use toml::Spanned;
use toml::de::DeValue;

use super::reference;
use super::tree::{self, Path};
use crate::config::complaint::{Complaint, Fault};

/// The span of the file as a table; no key and no value has it.
pub(super) const ROOT: Range<usize> = 0..0;

pub(super) struct Report<'t> {
    text: &'t str,
    /// The file as it was written; it gives every complaint its path.
    written: DeValue<'t>,
    /// What was taken out of the file after a complaint: nobody shall call it missing.
    lost: Vec<Path>,
    list: Vec<Complaint>,
}

impl<'t> Report<'t> {
    pub(super) fn new(text: &'t str, written: DeValue<'t>) -> Self {
        Self {
            text,
            written,
            lost: Vec::new(),
            list: Vec::new(),
        }
    }

    /// A value that may be left out.
    pub(super) fn optional<T, U>(
        &mut self,
        value: Option<Spanned<T>>,
        default: U,
        rule: impl FnOnce(&T) -> Result<U, Fault>,
    ) -> U {
        let checked = value.map(|value| self.checked(&value, rule));
        checked.flatten().unwrap_or(default)
    }

    /// A value that the table at `owner` must have; `None` if it is missing or wrong.
    pub(super) fn required<T, U>(
        &mut self,
        owner: &Range<usize>,
        key: &str,
        value: Option<Spanned<T>>,
        rule: impl FnOnce(&T) -> Result<U, Fault>,
    ) -> Option<U> {
        if value.is_none() {
            self.missing(owner, key);
        }
        self.checked(&value?, rule)
    }

    /// The values of a list that are right.
    pub(super) fn each<T, U>(
        &mut self,
        values: &[Spanned<T>],
        rule: impl Fn(&T) -> Result<U, Fault>,
    ) -> Vec<U> {
        let checked = values.iter().map(|value| self.checked(value, &rule));
        checked.flatten().collect()
    }

    /// A list that may be left out; each value is kept once.
    pub(super) fn list<T, U: Copy + PartialEq>(
        &mut self,
        values: Option<Spanned<Vec<Spanned<T>>>>,
        default: &[U],
        rule: impl Fn(&T) -> Result<U, Fault>,
    ) -> Vec<U> {
        let Some(values) = values else {
            return default.to_vec();
        };
        let mut kept = Vec::new();
        for value in self.each(values.get_ref(), rule) {
            if !kept.contains(&value) {
                kept.push(value);
            }
        }
        kept
    }

    fn checked<T, U>(
        &mut self,
        value: &Spanned<T>,
        rule: impl FnOnce(&T) -> Result<U, Fault>,
    ) -> Option<U> {
        match rule(value.get_ref()) {
            Ok(value) => Some(value),
            Err(fault) => {
                self.complain(value.span(), fault);
                None
            }
        }
    }

    /// Complains about the value at `span`; its text goes before the problem.
    pub(super) fn complain(&mut self, span: Range<usize>, fault: Fault) {
        let path = self.path(&span);
        let problem = format!("{} {}", self.snippet(&span), fault.problem);
        self.add(&path, span.start, Fault { problem, ..fault });
    }

    /// Complains that the table at `owner` lacks `key`, unless that was lost after a complaint.
    pub(super) fn missing(&mut self, owner: &Range<usize>, key: &str) {
        let path = self.path(owner).key(key);
        if self.lost.iter().any(|lost| lost.starts_with(&path)) {
            return;
        }
        let empty = tree::at(&self.written, &path);
        let start = empty.map_or(owner.start, |value| value.span().start);
        let problem = empty.map_or("missing", |_| "empty");
        let remedy = format!("add a line such as {}", reference::example(&path.keys()));
        self.add(&path, start, Fault::new(problem, remedy));
    }

    /// Takes the complaint down, for a problem that is already a whole sentence.
    pub(super) fn add(&mut self, path: &Path, offset: usize, fault: Fault) {
        let (line, column) = position(self.text, offset);
        self.list.push(Complaint {
            path: path.to_string(),
            line,
            column,
            problem: fault.problem,
            remedy: fault.remedy,
        });
    }

    /// Remembers what a complaint has taken out of the file.
    pub(super) fn lose(&mut self, path: Path) {
        self.lost.push(path);
    }

    /// Goes on as if the key had the name that was meant.
    pub(super) fn rename(&mut self, path: &Path, name: &str) {
        tree::rename(&mut self.written, path, name);
    }

    /// Whether a pool, or the name of one, was lost.
    pub(super) fn lost_a_pool_name(&self) -> bool {
        self.lost.iter().any(|path| {
            let keys = path.keys();
            keys == ["pools"] || keys == ["pools", "name"]
        })
    }

    /// Where the value with this span stood when it was written; the root where it is unknown.
    pub(super) fn path(&self, span: &Range<usize>) -> Path {
        self.path_where(span, |_| true)
    }

    /// The same, among values that are `wanted`.
    pub(super) fn path_where(
        &self,
        span: &Range<usize>,
        wanted: impl Fn(&DeValue<'t>) -> bool,
    ) -> Path {
        tree::locate(&self.written, span, wanted).map_or_else(Path::default, |(path, _)| path)
    }

    /// From 1.
    pub(super) fn line(&self, span: &Range<usize>) -> usize {
        position(self.text, span.start).0
    }

    /// What was written there, as one short line that is safe to print.
    pub(super) fn snippet(&self, span: &Range<usize>) -> String {
        snippet(self.text, span)
    }

    /// The configuration if nobody complained.
    pub(super) fn finish<T>(self, config: T) -> Result<T, Vec<Complaint>> {
        if self.list.is_empty() {
            Ok(config)
        } else {
            Err(self.into_list())
        }
    }

    pub(super) fn into_list(self) -> Vec<Complaint> {
        sorted(self.list)
    }
}

pub(super) fn sorted(mut list: Vec<Complaint>) -> Vec<Complaint> {
    list.sort_by_key(|complaint| (complaint.line, complaint.column));
    list
}

/// Line and column of a byte, both from 1; the column counts characters.
pub(super) fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = &text[..text.floor_char_boundary(offset)];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let line = before.matches('\n').count() + 1;
    let column = before[line_start..].chars().count() + 1;
    (line, column)
}

/// The text of a span, as one short line that is safe to print.
pub(super) fn snippet(text: &str, span: &Range<usize>) -> String {
    let whole = text.get(span.clone()).unwrap_or_default();
    let line = whole.lines().next().unwrap_or_default();
    let short: String = line.chars().take(SNIPPET_CHARACTERS).collect();
    let dots = if short.len() < whole.trim_end().len() {
        "..."
    } else {
        ""
    };
    let printable = |c: char| if c.is_control() { '?' } else { c };

    short.chars().map(printable).chain(dots.chars()).collect()
}

/// The most characters of a value that a complaint repeats.
const SNIPPET_CHARACTERS: usize = 60;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_lines_and_columns_from_one() {
        let text = "a = 1\nñ = 2\n";

        assert_eq!(position(text, 0), (1, 1));
        assert_eq!(position(text, 4), (1, 5));
        assert_eq!(position(text, 6), (2, 1));
        assert_eq!(position(text, 7), (2, 1));
        assert_eq!(position(text, 11), (2, 5));
        assert_eq!(position(text, 999), (3, 1));
    }

    #[test]
    fn repeats_a_value_on_one_short_line() {
        let long = "x".repeat(SNIPPET_CHARACTERS + 1);

        assert_eq!(snippet("a = 5", &(4..5)), "5");
        assert_eq!(snippet("[\n1]", &(0..4)), "[...");
        assert_eq!(snippet("\u{1b}[31m", &(0..5)), "?[31m");
        assert_eq!(
            snippet(&long, &(0..long.len())).len(),
            SNIPPET_CHARACTERS + 3
        );
        assert_eq!(snippet("a", &(5..9)), "");
    }
}
