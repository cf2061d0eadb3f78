//! Locks between processes: who mints an entry now, and who renews it in time.
//!
//! A lock file may be deleted by whoever holds its lock, so whoever gets a lock looks whether its file is still the one at
//! the path. Nothing here sleeps.

use std::{
    fs::{self, File, TryLockError},
    io,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::Path,
    thread,
    time::SystemTime,
};

use super::{TokenStoreError, file::options};

/// How often a lock that somebody merely looks at is tried for.
const TRIES: u32 = 1000;

/// As long as it lives, others see that the entry is renewed in time.
#[derive(Debug)]
pub struct Keeper {
    _lock: File,
}

/// Takes the lock at `path`, when it is free.
pub(super) fn wait(path: &Path) -> Result<File, TokenStoreError> {
    let locked = || loop {
        let file = open(path)?;
        file.lock()?;
        if is_still_there(&file, path) {
            mark_used(&file);
            return Ok(file);
        }
    };
    locked().map_err(|source| TokenStoreError::Io { path: path.to_owned(), source })
}

pub(super) fn keep(path: &Path) -> Option<Keeper> {
    for _ in 0..TRIES {
        let file = open(path).ok()?;
        match file.try_lock() {
            Ok(()) if is_still_there(&file, path) => {
                mark_used(&file);
                return Some(Keeper { _lock: file });
            }
            Ok(()) => {}
            // those who only look share the lock; who keeps it does not
            Err(TryLockError::WouldBlock) => {
                file.try_lock_shared().ok()?;
                thread::yield_now();
            }
            Err(TryLockError::Error(_)) => return None,
        }
    }
    None
}

pub(super) fn is_kept(path: &Path) -> bool {
    let Ok(file) = options().read(true).open(path) else { return false };
    matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
}

/// Deletes the lock file at `path` unless somebody has it.
pub(super) fn remove_free(path: &Path) -> io::Result<()> {
    let file = options().read(true).open(path)?;
    match file.try_lock() {
        // under the lock: who waits for it finds the file gone and makes another
        Ok(()) if is_still_there(&file, path) => fs::remove_file(path),
        Ok(()) | Err(TryLockError::WouldBlock) => Ok(()),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn open(path: &Path) -> io::Result<File> {
    options().write(true).create(true).truncate(false).mode(0o600).open(path)
}

fn is_still_there(file: &File, path: &Path) -> bool {
    let (Ok(ours), Ok(there)) = (file.metadata(), fs::metadata(path)) else { return false };
    (ours.dev(), ours.ino()) == (there.dev(), there.ino())
}

/// A file that was used of late is not pruned.
fn mark_used(file: &File) {
    // the worst that comes of a refusal is that the file is made anew
    let _ = file.set_modified(SystemTime::now());
}
