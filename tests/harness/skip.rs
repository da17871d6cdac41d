//! Skipping a test that cannot run here, and saying so.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::thread;

/// Unwraps a prerequisite, or ends the test with the reason why there is none.
#[macro_export]
macro_rules! need {
    ($prerequisite:expr) => {
        match $prerequisite {
            Ok(there) => there,
            Err(reason) => $crate::skip!("{reason}"),
        }
    };
}

/// Ends the test, noting why.
#[macro_export]
macro_rules! skip {
    ($($reason:tt)+) => {{
        fn here() {}
        $crate::skip::note(std::any::type_name_of_val(&here), &format!($($reason)+));
        return;
    }};
}

/// Prints a skipped test and its reason, and appends both to the file named by `SLUICE_SKIPS`.
///
/// `marker` is the path of a function within the test.
#[expect(clippy::print_stderr, reason = "a test tells whoever runs it")]
pub fn note(marker: &str, reason: &str) {
    let file = marker.split("::").next().unwrap_or_default();
    let thread = thread::current();
    // A test runs in a thread of its name; only where there is a single thread it does not.
    let test = match thread.name() {
        None | Some("main") => marker.trim_end_matches("::here").to_owned(),
        Some(name) => format!("{file}::{name}"),
    };
    eprintln!("skipped {test}: {reason}");
    if let Some(file) = std::env::var_os("SLUICE_SKIPS") {
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(file)
            .and_then(|mut skips| skips.write_all(format!("{test}\t{reason}\n").as_bytes()))
            .expect("the file named by SLUICE_SKIPS can be written");
    }
}
