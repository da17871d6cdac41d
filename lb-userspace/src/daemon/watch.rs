//! Notices that the file of the configuration has changed.

use std::fs;
use std::path::Path;
use std::time::Duration;

use tokio::time;

/// Between two looks.
const PAUSE: Duration = Duration::from_secs(1);

/// Ends when the text of `file` is not `text` any more, and has not changed for a moment.
///
/// A text that could not be put in force is not looked at again until it changes.
pub(super) async fn until_changed(file: &Path, text: &str) -> String {
    let mut last = text.to_owned();
    loop {
        time::sleep(PAUSE).await;
        // An editor may be about to put it in its place.
        let Ok(now) = fs::read_to_string(file) else {
            continue;
        };
        if now != text && now == last {
            return now;
        }
        last = now;
    }
}
