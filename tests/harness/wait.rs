//! Waiting for a condition instead of for a time.

use std::fmt::Debug;
use std::io;
use std::thread;
use std::time::Duration;
#[expect(clippy::disallowed_types, reason = "a test waits in real time")]
use std::time::Instant;

/// How long anything may take before a test gives up; far more than it takes on a slow machine.
pub const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(5);

/// Waits until `condition` holds.
///
/// # Panics
///
/// It does not come true within [`PATIENCE`].
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    until_some(what, || condition().then_some(()));
}

/// Waits until nothing is left of what `list` lists.
///
/// # Panics
///
/// Something is after [`PATIENCE`]; it is told.
pub fn until_empty<T: Debug>(what: &str, mut list: impl FnMut() -> Vec<T>) {
    let mut left = Vec::new();
    let is_empty = in_time(|| {
        left = list();
        left.is_empty().then_some(())
    });
    assert!(
        is_empty.is_some(),
        "waited in vain until {what} is empty: {left:#?}"
    );
}

/// Waits until `find` finds something.
///
/// # Panics
///
/// It does not within [`PATIENCE`].
pub fn until_some<T>(what: &str, find: impl FnMut() -> Option<T>) -> T {
    in_time(find).unwrap_or_else(|| panic!("waited in vain until {what}"))
}

fn in_time<T>(mut find: impl FnMut() -> Option<T>) -> Option<T> {
    #[expect(clippy::disallowed_types, reason = "a test waits in real time")]
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = find() {
            return Some(found);
        }
        #[expect(clippy::disallowed_types, reason = "a test waits in real time")]
        let now = Instant::now();
        if now >= deadline {
            return None;
        }
        thread::sleep(PAUSE);
    }
}

/// Does it again where a machine that was halted for a moment has interrupted it: Linux does not, where
/// a socket has a time-out (signal(7)).
///
/// # Errors
///
/// What else comes of it.
pub fn uninterrupted<T>(mut work: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match work() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}
