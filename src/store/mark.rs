//! The mark of a daemon that runs: a file that an orderly stop takes away.
//!
//! One that is found at the start tells that the last run ended otherwise; its time is the start of that run.

use std::{
    fs::{self, OpenOptions},
    path::{Path, PathBuf},
    time::SystemTime,
};

fn file(dir: &Path) -> PathBuf {
    dir.join("running")
}

/// Sets the mark. Returns since when content is in doubt, if the mark was still set.
pub(super) fn running(dir: &Path) -> Option<SystemTime> {
    let since = fs::metadata(file(dir)).and_then(|metadata| metadata.modified()).ok();
    if since.is_none()
        && let Err(error) = OpenOptions::new().write(true).create(true).truncate(false).open(file(dir))
    {
        tracing::warn!(%error, "the cache folder takes no mark: after a crash, nothing will be verified again");
    }
    since
}

/// What was in doubt is verified: only what comes from now on will be.
pub(super) fn settled(dir: &Path) {
    let mark = OpenOptions::new().write(true).create(true).truncate(true).open(file(dir));
    // one that keeps its time costs a needless look at what is verified
    let _ = mark.and_then(|mark| mark.set_modified(SystemTime::now()));
}

/// Takes the mark away.
pub(super) fn stopped(dir: &Path) {
    // one that stays costs a needless look at what is new
    let _ = fs::remove_file(file(dir));
}
