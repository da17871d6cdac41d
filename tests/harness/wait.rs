//! Waiting for a condition instead of for a time.

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

/// Waits until `find` finds something.
///
/// # Panics
///
/// It does not within [`PATIENCE`].
pub fn until_some<T>(what: &str, mut find: impl FnMut() -> Option<T>) -> T {
    #[expect(clippy::disallowed_types, reason = "a test waits in real time")]
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = find() {
            return found;
        }
        #[expect(clippy::disallowed_types, reason = "a test waits in real time")]
        let now = Instant::now();
        assert!(now < deadline, "waited in vain until {what}");
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
