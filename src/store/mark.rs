//! The mark of a daemon that runs: a file `running`, which an orderly stop renames to `stopped`.
//!
//! Its time tells since when content is in doubt: found as `running`, the last run ended in disorder, and its start is that time;
//! found as `stopped`, what was changed after that time was changed by somebody else.

use std::{
    fs::{self, OpenOptions},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

fn file(dir: &Path) -> PathBuf {
    dir.join("running")
}

fn file_of_a_stop(dir: &Path) -> PathBuf {
    dir.join("stopped")
}

/// Sets the mark. Returns since when content is in doubt, if there was one.
pub(super) fn running(dir: &Path) -> Option<SystemTime> {
    let time = |file: &Path| fs::metadata(file).and_then(|metadata| metadata.modified()).ok();
    if let Some(since) = time(&file(dir)) {
        return Some(since);
    }
    // keeps its time until all that was changed since was verified
    if fs::rename(file_of_a_stop(dir), file(dir)).is_ok() {
        return time(&file(dir)).map(|stopped| stopped + Duration::from_nanos(1));
    }
    if let Err(error) = OpenOptions::new().write(true).create(true).truncate(false).open(file(dir)) {
        tracing::warn!(%error, "the cache folder takes no mark: after a crash, nothing will be verified again");
    }
    None
}

/// What was in doubt is verified: only what comes from now on will be.
pub(super) fn settled(dir: &Path) {
    let mark = OpenOptions::new().write(true).create(true).truncate(true).open(file(dir));
    // one that keeps its time costs a needless look at what is verified
    let _ = mark.and_then(|mark| mark.set_modified(SystemTime::now()));
}

/// The daemon ends in order, with nothing in doubt.
pub(super) fn stopped(dir: &Path) {
    // one that stays, or keeps its time, costs a needless look at what is new
    let _ = fs::rename(file(dir), file_of_a_stop(dir))
        .and_then(|()| OpenOptions::new().write(true).open(file_of_a_stop(dir))?.set_modified(SystemTime::now()));
}
