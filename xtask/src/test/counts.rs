//! How many tests passed, failed and were skipped.

use std::collections::BTreeMap;
use std::{env, fmt};

/// Lines of a failed test's report that are told again at the end.
const REPORT_LINES: usize = 40;

/// What a failed test printed.
pub(crate) struct Report {
    name: String,
    lines: Vec<String>,
    left_out: usize,
}

#[derive(Default)]
pub(crate) struct Counts {
    /// Tests that came to their end, those among them that could not run included.
    ended: usize,
    failed: usize,
    /// What each failed test printed, by its name.
    reports: Vec<Report>,
    is_in_report: bool,
    ignored: BTreeMap<String, String>,
    skipped: BTreeMap<String, String>,
}

impl Counts {
    /// Takes in one line of the output of `cargo test`.
    pub(crate) fn read(&mut self, line: &str) {
        if let Some(name) = reported(line) {
            self.is_in_report = true;
            self.reports.push(Report::new(name));
        } else if line == "failures:" {
            self.is_in_report = false;
        } else if self.is_in_report
            && let Some(report) = self.reports.last_mut()
        {
            report.add(line);
        } else if let Some(result) = line.strip_prefix("test result: ") {
            self.ended += number_before(result, " passed");
            self.failed += number_before(result, " failed");
        } else if let Some((name, reason)) = ignored(line) {
            self.ignored.insert(name.to_owned(), reason.to_owned());
        }
    }

    /// Takes in the lines `NAME<tab>REASON` of tests that ended early because they cannot run.
    pub(crate) fn skip_all(&mut self, lines: &str) {
        for line in lines.lines() {
            let (name, reason) = line.split_once('\t').unwrap_or((line, "no reason given"));
            self.skipped.insert(name.to_owned(), reason.to_owned());
        }
    }

    /// Takes in something that could not even start.
    pub(crate) fn skip(&mut self, name: String, reason: String) {
        self.ignored.insert(name, reason);
    }

    pub(crate) fn pass(&mut self) {
        self.ended += 1;
    }

    pub(crate) fn fail(&mut self, name: &str, reason: &str) {
        self.failed += 1;
        let mut report = Report::new(name);
        report.add(reason);
        self.reports.push(report);
    }

    /// Counts a failure that no test reported, such as code that does not compile.
    pub(crate) fn failed_somehow(&mut self) {
        self.failed = self.failed.max(1);
    }

    /// Every test that did not run, with its reason.
    pub(crate) fn skipped(&self) -> impl Iterator<Item = (&String, &String)> {
        self.ignored.iter().chain(&self.skipped)
    }

    /// What every failed test said, where it said something.
    pub(crate) fn reports(&self) -> &[Report] {
        &self.reports
    }

    /// Whether nothing failed and, in CI, nothing was skipped.
    pub(crate) fn is_well(&self) -> bool {
        let is_ci = env::var("CI").is_ok_and(|ci| ci == "true");
        self.is_well_where(is_ci)
    }

    fn is_well_where(&self, nothing_may_be_skipped: bool) -> bool {
        self.failed == 0 && !(nothing_may_be_skipped && self.skipped().next().is_some())
    }
}

impl Report {
    fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            lines: Vec::new(),
            left_out: 0,
        }
    }

    fn add(&mut self, line: &str) {
        if self.lines.len() < REPORT_LINES {
            self.lines.push(line.to_owned());
        } else {
            self.left_out += 1;
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "failed {}", self.name)?;
        for line in self.lines.iter().filter(|line| !line.is_empty()) {
            write!(f, "\n    {line}")?;
        }
        match self.left_out {
            0 => Ok(()),
            more => write!(f, "\n    ({more} more lines are above)"),
        }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let passed = self.ended.saturating_sub(self.skipped.len());
        let failed = self.failed;
        let skipped = self.skipped().count();
        write!(f, "{passed} passed, {failed} failed, {skipped} skipped")
    }
}

/// The number before a word in `ok. 5 passed; 0 failed; …`.
fn number_before(result: &str, word: &str) -> usize {
    result
        .split(word)
        .next()
        .and_then(|before| before.rsplit(' ').next())
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}

/// The name in `---- NAME stdout ----`.
fn reported(line: &str) -> Option<&str> {
    line.strip_prefix("---- ")?.strip_suffix(" stdout ----")
}

/// Name and reason in `test NAME ... ignored, REASON`.
fn ignored(line: &str) -> Option<(&str, &str)> {
    let (name, outcome) = line.strip_prefix("test ")?.split_once(" ... ignored")?;
    Some((name, outcome.strip_prefix(", ").unwrap_or("ignored")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESULT: &str =
        "test result: FAILED. 5 passed; 2 failed; 1 ignored; 0 measured; 0 filtered out";

    #[test]
    fn adds_the_results_up() {
        let mut counts = Counts::default();

        counts.read(RESULT);
        counts.read("running 12 tests");
        counts.read("test result: ok. 10 passed; 0 failed; 0 ignored");

        assert_eq!(counts.to_string(), "15 passed, 2 failed, 0 skipped");
        assert!(!counts.is_well_where(false));
    }

    #[test]
    fn does_not_count_a_skipped_test_as_passed() {
        let mut counts = Counts::default();

        counts.read("test result: ok. 3 passed; 0 failed; 1 ignored");
        counts.read("test slow ... ignored, needs a quiet machine");
        counts.skip_all("kernel::loads\tnot root\n");
        counts.skip_all("kernel::loads\tnot root\n");

        let skipped: Vec<_> = counts.skipped().collect();
        assert_eq!(counts.to_string(), "2 passed, 0 failed, 2 skipped");
        assert_eq!(skipped[0].1, "needs a quiet machine");
        assert_eq!(skipped[1].1, "not root");
        assert!(counts.is_well_where(false));
        assert!(!counts.is_well_where(true));
    }

    #[test]
    fn tells_again_what_failed() {
        let mut counts = Counts::default();

        for line in [
            "test one ... FAILED",
            "failures:",
            "",
            "---- one stdout ----",
            "thread 'one' panicked at tests/a.rs:1:2:",
            "left is not right",
            "---- two stdout ----",
            "gone",
            "",
            "failures:",
            "    one",
            RESULT,
        ] {
            counts.read(line);
        }

        let told: Vec<_> = counts.reports().iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "failed one\n    thread 'one' panicked at tests/a.rs:1:2:\n    left is not right",
                "failed two\n    gone",
            ]
        );
        assert_eq!(counts.to_string(), "5 passed, 2 failed, 0 skipped");
    }

    #[test]
    fn tells_no_more_lines_than_one_reads() {
        let mut counts = Counts::default();

        counts.read("---- one stdout ----");
        for _ in 0..=REPORT_LINES {
            counts.read("line");
        }

        let told = counts.reports()[0].to_string();
        assert_eq!(told.lines().count(), REPORT_LINES + 2);
        assert!(told.ends_with("(1 more lines are above)"), "{told}");
    }

    #[test]
    fn counts_a_failure_that_no_test_reported() {
        let mut counts = Counts::default();

        counts.failed_somehow();

        assert_eq!(counts.to_string(), "0 passed, 1 failed, 0 skipped");
    }
}
