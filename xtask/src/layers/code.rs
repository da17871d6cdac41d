//! A file of Rust as the words that compile: no comments, no texts, no unit tests.

/// Where the unit tests of a file begin; they stand at its end.
const TESTS: &str = "#[cfg(test)]\nmod ";

/// Words and punctuation, each with its line, counted from one.
pub(crate) struct Code {
    tokens: Vec<(usize, String)>,
}

impl Code {
    pub(crate) fn of(text: &str) -> Self {
        let text = text.split(TESTS).next().unwrap_or(text);
        Self {
            tokens: tokens(text),
        }
    }

    /// Every word with its line.
    pub(crate) fn words(&self) -> impl Iterator<Item = (usize, &str)> {
        self.tokens
            .iter()
            .filter(|(_, token)| token.starts_with(is_of_word))
            .map(|(line, token)| (*line, token.as_str()))
    }

    /// Every top-level module that is named, after `crate::` or after as many `super::` as lead
    /// from this file to the root; in a group as well.
    pub(crate) fn modules_used(&self, depth: usize) -> Vec<(usize, String)> {
        let supers = ["super", ":", ":"].repeat(depth);
        let roots = [&["crate", ":", ":"][..], &supers];
        let mut used = Vec::new();
        for at in 0..self.tokens.len() {
            for root in roots.iter().filter(|root| self.has(at, root)) {
                match &self.tokens[at + root.len()..] {
                    [(_, brace), group @ ..] if brace == "{" => used.extend(heads_of_group(group)),
                    [named, ..] => used.push(named.clone()),
                    [] => {}
                }
            }
        }
        used
    }

    fn has(&self, at: usize, wanted: &[&str]) -> bool {
        let tokens = self.tokens[at..].iter().map(|(_, token)| token.as_str());
        tokens.take(wanted.len()).eq(wanted.iter().copied())
    }
}

/// The first words in a group such as `{a::{b, c}, d}`, given without its first brace.
fn heads_of_group(tokens: &[(usize, String)]) -> Vec<(usize, String)> {
    let mut depth = 1;
    let mut is_head = true;
    let mut heads = Vec::new();
    for (line, token) in tokens {
        match token.as_str() {
            "{" => depth += 1,
            "}" => depth -= 1,
            "," if depth == 1 => is_head = true,
            word if is_head && depth == 1 => {
                heads.push((*line, word.to_owned()));
                is_head = false;
            }
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    heads
}

fn tokens(text: &str) -> Vec<(usize, String)> {
    let mut tokens = Vec::new();
    let mut line = 1;
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (bytes, is_code) = match skipped(rest) {
            Some(bytes) => (bytes, false),
            None if is_of_word(first) => {
                let end = rest.find(|letter| !is_of_word(letter));
                (end.unwrap_or(rest.len()), true)
            }
            None => (first.len_utf8(), !first.is_whitespace()),
        };
        let (token, after) = rest.split_at(bytes);
        if is_code {
            tokens.push((line, token.to_owned()));
        }
        line += token.matches('\n').count();
        rest = after;
    }
    tokens
}

/// How many bytes of comment, text or character stand here, if one does.
fn skipped(rest: &str) -> Option<usize> {
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return Some(rest.find("*/").map_or(rest.len(), |end| end + 2));
    }
    if let Some(bytes) = raw_text(rest) {
        return Some(bytes);
    }
    if rest.starts_with('"') {
        return Some(quoted(rest, '"'));
    }
    // A quote may also begin a lifetime: only a character is closed after one letter.
    let inner = rest.strip_prefix('\'')?;
    let is_character = inner.starts_with('\\') || inner.chars().nth(1) == Some('\'');
    is_character.then(|| quoted(rest, '\''))
}

/// The length of `r"…"` or `r#"…"#`.
fn raw_text(rest: &str) -> Option<usize> {
    let after = rest.strip_prefix("br").or_else(|| rest.strip_prefix('r'))?;
    let opened = after.trim_start_matches('#');
    let hashes = after.len() - opened.len();
    let body = opened.strip_prefix('"')?;
    let close = format!("\"{}", "#".repeat(hashes));
    let end = body.find(&close)? + close.len();
    Some(rest.len() - body.len() + end)
}

/// The length of a text or character, with both its quotes.
fn quoted(rest: &str, quote: char) -> usize {
    let mut is_escaped = false;
    for (at, letter) in rest.char_indices().skip(1) {
        if letter == quote && !is_escaped {
            return at + quote.len_utf8();
        }
        is_escaped = letter == '\\' && !is_escaped;
    }
    rest.len()
}

fn is_of_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words_of(text: &str) -> Vec<(usize, String)> {
        Code::of(text)
            .words()
            .map(|(line, word)| (line, word.to_owned()))
            .collect()
    }

    #[test]
    fn leaves_out_comments_texts_and_characters() {
        let text = "a // b\n/* c\n d */ e \"f \\\" g\" r#\"h \" i\"# 'j' '\\'' k";

        assert_eq!(
            words_of(text),
            [(1, "a".into()), (3, "e".into()), (3, "k".into())]
        );
    }

    #[test]
    fn keeps_lifetimes() {
        let expected = ["fn", "f", "a", "x", "a", "str"];

        let words = words_of("fn f<'a>(x: &'a str)");

        assert!(words.iter().map(|(_, word)| word).eq(expected));
    }

    #[test]
    fn leaves_out_the_unit_tests() {
        assert_eq!(
            words_of("a\n#[cfg(test)]\nmod tests { b }"),
            [(1, "a".into())]
        );
    }

    #[test]
    fn finds_modules_in_paths_and_groups() {
        let text = "use crate::a::B;\nuse crate::{\n    c::{D, e},\n    f,\n};\ncrate::g()";

        assert_eq!(
            Code::of(text).modules_used(1),
            [
                (1, "a".into()),
                (3, "c".into()),
                (4, "f".into()),
                (6, "g".into())
            ]
        );
    }

    #[test]
    fn finds_modules_above_by_super() {
        let code = Code::of("use super::a;\nuse super::super::b;");

        assert_eq!(code.modules_used(2), [(2, "b".into())]);
    }
}
