//! What the TOML parser stumbled over, in plainer words than its own.

use std::ops::Range;

use toml::de::Error;

use super::report;
use crate::config::complaint::{Complaint, Fault};

/// One complaint for each line, as the parser loses its way for the rest of a line.
pub(super) fn complaints(text: &str, errors: &[Error]) -> Vec<Complaint> {
    let complaints = errors.iter().map(|error| {
        let span = error.span().unwrap_or_default();
        let (line, column) = report::position(text, span.start);
        let Fault { problem, remedy } =
            fault(error.message(), &line_of(text, line), word(text, &span));
        Complaint {
            path: String::new(),
            line,
            column,
            problem,
            remedy,
        }
    });
    let mut list = report::sorted(complaints.collect());
    list.dedup_by_key(|complaint| complaint.line);
    list
}

/// `line` and `word` are what stands where the parser stopped.
fn fault(message: &str, line: &str, word: &str) -> Fault {
    let (problem, expected) = message.split_once(", expected ").unwrap_or((message, ""));
    let end = expected.trim_matches('`');
    match problem {
        "string values must be quoted" if word.is_empty() => {
            Fault::new(format!("{line} has no value"), "write one after the =")
        }
        "string values must be quoted" | "invalid float" if !word.is_empty() => {
            let bare = word.trim_matches(['“', '”', '‘', '’']);
            Fault::new(format!("`{word}` has no quotes"), format!("write {bare:?}"))
        }
        "key with no value" | "invalid unquoted key" => Fault::new(
            format!("{line} is neither a key with a value nor a header"),
            "write key = value or [table]",
        ),
        "duplicate key" => Fault::new(
            format!("{line} is there twice"),
            "remove one of them, or write [[...]] where a list of tables is meant",
        ),
        "unclosed table" | "unclosed array table" | "unclosed array" | "unclosed inline table" => {
            Fault::new(format!("{line} is not closed"), format!("write {end}"))
        }
        "invalid basic string" | "invalid literal string" if end == "\"" || end == "'" => {
            Fault::new(
                format!("{line} has a string that is not closed"),
                format!("write {end} at the end of the string"),
            )
        }
        "missing comma between array elements" => {
            let problem = format!("a comma or a ] is missing in or before {line}");
            Fault::new(problem, "write it")
        }
        "unexpected key or value" => Fault::new(
            format!("{line} goes on where it should end"),
            "remove the rest, or write # before it",
        ),
        _ if expected.is_empty() || expected == "nothing" => {
            Fault::new(format!("{line} has: {problem}"), "remove it")
        }
        _ => Fault::new(
            format!("{line} has: {problem}"),
            format!("write {expected}"),
        ),
    }
}

fn line_of(text: &str, line: usize) -> String {
    let whole = text.lines().nth(line - 1).unwrap_or_default().trim();
    if whole.is_empty() {
        return "the text before this line".to_owned();
    }
    format!("`{}`", report::snippet(whole, &(0..whole.len())))
}

/// The span, widened to the next space, comma, bracket or the like on both sides.
fn word<'t>(text: &'t str, span: &Range<usize>) -> &'t str {
    let ends = |c: char| c.is_whitespace() || c.is_control() || "=,[]{}#".contains(c);
    let before = &text[..text.floor_char_boundary(span.start)];
    let after = &text[text.ceil_char_boundary(span.end)..];
    let start = before.trim_end_matches(|c| !ends(c)).len();
    let end = text.len() - after.trim_start_matches(|c| !ends(c)).len();

    &text[start..end]
}

#[cfg(test)]
mod tests {
    use toml::de::DeTable;

    use super::*;

    #[test]
    fn says_it_in_plain_words() {
        let cases = [
            ("a = yes", "`yes` has no quotes"),
            ("a = 0.0.0.0:1883", "`0.0.0.0:1883` has no quotes"),
            ("a = “b”", "`“b”` has no quotes"),
            ("a =", "`a =` has no value"),
            ("a: b", "`a: b` is neither a key with a value nor a header"),
            ("[a", "`[a` is not closed"),
            ("[[a]", "`[[a]` is not closed"),
            ("a = 'b", "`a = 'b` has a string that is not closed"),
            (
                "a = [1,\n2\n[b]",
                "a comma or a ] is missing in or before `[b]`",
            ),
            ("a = 1 b", "`1 b` has no quotes"),
            ("a = 'b' c", "`a = 'b' c` goes on where it should end"),
            ("a = 1\na = 2", "`a = 2` is there twice"),
            ("a = 01", "`a = 01` has: unexpected leading zero"),
        ];
        for (text, problem) in cases {
            let (_, errors) = DeTable::parse_recoverable(text);
            let list = complaints(text, &errors);

            assert!(
                list.iter().any(|complaint| complaint.problem == problem),
                "{list:?}"
            );
        }
    }
}
