//! Keeping the folder of tokens small: what is over goes, now and then.
//!
//! Best effort: what cannot be deleted now is tried again later. Never deletes a lock that somebody holds, nor a file it
//! does not know.

use std::{
    fs::{self, DirEntry},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use super::{
    TokenKey,
    file::{self, EXTENSION, UNFINISHED},
    lock,
};

/// Reading every entry is for once in a while.
const PAUSE: Duration = Duration::from_mins(5);
/// No token lives longer than 12 hours: what is not understood and older than this is nobody's.
const LONGEST_LIFE: Duration = Duration::from_hours(13);
/// Writing takes milliseconds.
const LONGEST_WRITE: Duration = Duration::from_hours(1);
/// A lock that is free and was last taken so long ago belongs to no entry.
const UNUSED: Duration = Duration::from_hours(24);
/// A machine uses a handful; this is for build farms whose sessions never repeat.
pub(super) const MOST: usize = 4096;
/// Its time is that of the last pruning.
const MARKER: &str = ".pruned";

/// Prunes, unless somebody did a short while ago. The entry `own` was put just now and stays.
pub(super) fn prune_seldom(dir: &Path, own: &TokenKey, now: SystemTime) {
    let marker = dir.join(MARKER);
    let age = fs::metadata(&marker).and_then(|metadata| metadata.modified()).map(|time| now.duration_since(time));
    // a marker of the future says nothing
    if matches!(age, Ok(Ok(age)) if age < PAUSE) {
        return;
    }
    // first, so that no second process begins as well
    let made = file::options().write(true).create(true).truncate(true).mode(0o600).open(&marker);
    if made.and_then(|file| file.set_modified(now)).is_ok() {
        prune(dir, own, now);
    }
}

fn prune(dir: &Path, own: &TokenKey, now: SystemTime) {
    let Ok(files) = fs::read_dir(dir) else { return };
    // those that go first come first: what holds no secret is learned again for nothing
    let mut kept: Vec<(bool, SystemTime, PathBuf)> = Vec::new();
    for found in files.flatten() {
        let (name, path) = (found.file_name(), found.path());
        let Some(name) = name.to_str() else { continue };
        if let Some(key) = TokenKey::from_file_name(name, EXTENSION) {
            let record = file::read(dir, &key).ok().flatten();
            match record.and_then(|record| Some((record.has_secret(), record.into_bare_entry(now)?.expires_at))) {
                _ if key == *own => {}
                Some((has_secret, expires_at)) if expires_at > now => kept.push((has_secret, expires_at, path)),
                Some(_) => discard(&path),
                None if is_older(&found, LONGEST_LIFE, now) => discard(&path),
                None => {}
            }
        } else if name.starts_with(UNFINISHED) && is_older(&found, LONGEST_WRITE, now) {
            discard(&path);
        } else if is_lock(name) && is_older(&found, UNUSED, now) {
            let _ = lock::remove_free(&path);
        }
    }
    kept.sort();
    let surplus = (kept.len() + 1).saturating_sub(MOST);
    kept.iter().take(surplus).for_each(|(_, _, path)| discard(path));
}

fn is_lock(name: &str) -> bool {
    ["lock", "keep"].iter().any(|extension| TokenKey::from_file_name(name, extension).is_some())
}

fn is_older(file: &DirEntry, age: Duration, now: SystemTime) -> bool {
    let modified = file.metadata().and_then(|metadata| metadata.modified());
    modified.is_ok_and(|modified| now.duration_since(modified).is_ok_and(|found| found > age))
}

fn discard(path: &Path) {
    let _ = fs::remove_file(path);
}
