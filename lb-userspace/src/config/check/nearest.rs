//! The word that somebody probably meant.

/// The known word closest to `word`, if one is close enough to be meant.
///
/// One change in three characters is close; a hyphen is as good as an underscore.
pub(super) fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let word = normal(word);
    let allowed = (word.len() / 3).max(1);
    let close = known.into_iter().filter_map(|candidate| {
        let distance = distance(&word, &normal(candidate));
        (distance <= allowed && distance < candidate.len()).then_some((distance, candidate))
    });

    close
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

fn normal(word: &str) -> Vec<char> {
    let lower = word.chars().flat_map(char::to_lowercase);
    lower.map(|c| if c == '-' { '_' } else { c }).collect()
}

/// Insertions, deletions, replacements and swaps of neighbours from one word to the other.
fn distance(from: &[char], to: &[char]) -> usize {
    let mut rows = vec![(0..=to.len()).collect::<Vec<_>>()];
    for (i, a) in from.iter().enumerate() {
        let above = &rows[i];
        let mut row = vec![i + 1];
        for (j, b) in to.iter().enumerate() {
            let replaced = above[j] + usize::from(a != b);
            let mut best = replaced.min(above[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *a == to[j - 1] && from[i - 1] == *b {
                best = best.min(rows[i - 1][j - 1] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[from.len()][to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 4] = ["threads", "control", "log", "log_format"];

    #[test]
    fn forgives_a_slip() {
        assert_eq!(nearest("thraeds", KNOWN), Some("threads"));
        assert_eq!(nearest("Log-Format", KNOWN), Some("log_format"));
        assert_eq!(nearest("logs", KNOWN), Some("log"));
    }

    #[test]
    fn does_not_guess_wildly() {
        assert_eq!(nearest("workers", KNOWN), None);
        assert_eq!(nearest("", KNOWN), None);
        assert_eq!(nearest("x", ["y"]), None);
    }

    #[test]
    fn counts_changes() {
        for (from, to, count) in [
            ("", "", 0),
            ("ab", "ba", 1),
            ("abc", "", 3),
            ("log", "dog", 1),
        ] {
            assert_eq!(
                distance(&normal(from), &normal(to)),
                count,
                "{from} to {to}"
            );
        }
    }
}
