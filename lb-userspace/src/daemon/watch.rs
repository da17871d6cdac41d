//! Notices that the file of the configuration has changed, or a file that it names.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time;

/// Between two looks.
const PAUSE: Duration = Duration::from_secs(1);

/// What a reload would read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    text: String,
    /// Certificates and keys, as they were when they were first named.
    named: BTreeMap<PathBuf, Stamp>,
}

/// What is different of a file whose content is: file system, inode, and the seconds and nanoseconds of
/// its last change.
type Stamp = [i128; 4];

impl Seen {
    pub(super) fn new(text: String, named: Vec<PathBuf>) -> Self {
        let stamped = |path: PathBuf| stamp(&path).ok().map(|stamp| (path, stamp));
        Self {
            text,
            named: named.into_iter().filter_map(stamped).collect(),
        }
    }

    /// Waits until something is not as it was seen, and has not changed for a moment; what is `named`
    /// may become other files meanwhile.
    ///
    /// What could not be put in force is not looked at again until it changes.
    pub(super) async fn until_changed(&mut self, file: &Path, named: impl Fn() -> Vec<PathBuf>) {
        let mut last = self.clone();
        loop {
            time::sleep(PAUSE).await;
            // Who writes it may be about to put it in its place.
            let Ok(text) = fs::read_to_string(file) else {
                continue;
            };
            let now = Self::new(text, named());
            if self.differs_from(&now) && now == last {
                *self = now;
                return;
            }
            for (path, stamp) in &now.named {
                self.named.entry(path.clone()).or_insert(*stamp);
            }
            last = now;
        }
    }

    fn differs_from(&self, now: &Self) -> bool {
        let is_other = |(path, stamp)| self.named.get(path).is_some_and(|seen| seen != stamp);
        self.text != now.text || now.named.iter().any(is_other)
    }
}

fn stamp(path: &Path) -> io::Result<Stamp> {
    // Of what a link leads to.
    let of = fs::metadata(path)?;
    Ok([
        of.dev().into(),
        of.ino().into(),
        of.ctime().into(),
        of.ctime_nsec().into(),
    ])
}
