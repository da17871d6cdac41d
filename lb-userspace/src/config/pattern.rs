//! What a text may have to look like: exactly so, so at its beginning, a glob, an expression.

use regex::{Regex, RegexBuilder};

/// The most memory that an expression may take, and so what one look may cost; in bytes.
const EXPRESSION_BYTES: usize = 64 * 1024;

/// One way in which a client id or a user name can match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pattern {
    Exact(String),
    Expression(Expression),
    Glob(String),
    Prefix(String),
}

impl Pattern {
    pub fn matches(&self, text: &str) -> bool {
        match self {
            Self::Exact(exact) => text == exact,
            Self::Expression(expression) => expression.0.is_match(text),
            Self::Glob(glob) => glob_matches(glob, text),
            Self::Prefix(prefix) => text.starts_with(prefix),
        }
    }
}

/// A regular expression, which matches in time that grows no faster than the text.
#[derive(Debug, Clone)]
pub struct Expression(Regex);

impl Expression {
    /// # Errors
    ///
    /// Why it is none, or that it is too large, in one line.
    pub fn new(text: &str) -> Result<Self, String> {
        let built = RegexBuilder::new(text)
            .size_limit(EXPRESSION_BYTES)
            .dfa_size_limit(EXPRESSION_BYTES)
            .build();
        built.map(Self).map_err(|error| {
            if matches!(error, regex::Error::CompiledTooBig(_)) {
                return "it takes too much memory".to_owned();
            }
            let text = error.to_string();
            let last = text.lines().last().unwrap_or_default();
            last.trim_start_matches("error: ").to_owned()
        })
    }
}

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for Expression {}

/// `*` is any text, `?` any one character, all else itself.
///
/// On a mismatch only the last `*` takes one character more, so the time is bounded by the product of
/// the lengths.
fn glob_matches(glob: &str, text: &str) -> bool {
    let mut rest = (glob.chars(), text.chars());
    let mut star = None;
    loop {
        let (mut pattern, mut left) = rest.clone();
        match (pattern.next(), left.next()) {
            (Some('*'), _) => {
                star = Some((pattern.clone(), rest.1.clone()));
                rest.0 = pattern;
                continue;
            }
            (None, None) => return true,
            (Some('?'), Some(_)) => {
                rest = (pattern, left);
                continue;
            }
            (Some(wanted), Some(found)) if wanted == found => {
                rest = (pattern, left);
                continue;
            }
            _ => {}
        }
        let Some((pattern, left)) = &mut star else {
            return false;
        };
        if left.next().is_none() {
            return false;
        }
        rest = (pattern.clone(), left.clone());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Expression, Pattern, glob_matches};

    #[test]
    fn a_glob_is_the_whole_text() {
        for (glob, yes, no) in [
            ("", "", "a"),
            ("a", "a", "ab"),
            ("a*", "a", "ba"),
            ("*a", "bba", "ab"),
            ("a?c", "aéc", "ac"),
            ("a*b*c", "a-bb-b-c", "acb"),
            ("*ab", "aab", "aba"),
            ("**", "", "\u{0}"),
        ] {
            assert!(glob_matches(glob, yes), "{glob} {yes}");
            assert!(no == "\u{0}" || !glob_matches(glob, no), "{glob} {no}");
        }
    }

    #[test]
    fn a_glob_that_nearly_matches_everywhere_comes_to_an_end() {
        let text = "a".repeat(65_535);

        assert!(!glob_matches("*a*a*a*a*a*b", &text));
    }

    #[test]
    fn an_expression_matches_anywhere_and_is_bounded() {
        let matches =
            |text: &str, id| Pattern::Expression(Expression::new(text).unwrap()).matches(id);

        assert!(matches("b+", "abbc"));
        assert!(!matches("^b+$", "abbc"));
        assert_eq!(
            Expression::new(r"(\w{100}){100}").unwrap_err(),
            "it takes too much memory"
        );
        assert_eq!(Expression::new("(a").unwrap_err(), "unclosed group");
    }

    proptest! {
        #[test]
        fn a_glob_says_what_its_expression_says(
            glob in "[ab*?]{0,8}",
            text in "[ab]{0,12}",
        ) {
            let expression = glob.replace('*', ".*").replace('?', ".");
            let expression = Expression::new(&format!("^(?s:{expression})$")).unwrap();
            prop_assert_eq!(
                glob_matches(&glob, &text),
                Pattern::Expression(expression).matches(&text)
            );
        }

        #[test]
        fn a_text_has_each_of_its_beginnings(text in "\\PC*", cut in 0_usize..40) {
            let prefix: String = text.chars().take(cut).collect();
            prop_assert!(Pattern::Prefix(prefix).matches(&text));
            prop_assert!(Pattern::Exact(text.clone()).matches(&text));
        }
    }
}
