//! The condition of the cache folder, for a person who looks for what is wrong.
//!
//! Changes nothing that stays: whether the folder can be written to is tried with a file that has no name.

use std::{fs, io, os::unix::fs::MetadataExt as _, path::Path};

/// What is found where the cache folder is, or will be.
#[derive(Debug)]
pub struct Condition {
    /// Whether the folder is there.
    pub exists: bool,
    /// Whether something can be written there; tried in the folder above while the folder itself is not there.
    pub writable: io::Result<()>,
    /// Whether other users can look into it.
    pub is_open_to_others: bool,
    /// Bytes that this user may still write.
    pub free: io::Result<u64>,
}

/// Looks at the cache folder `dir`.
#[must_use]
pub fn condition(dir: &Path) -> Condition {
    let metadata = fs::metadata(dir).ok();
    let existing = dir.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let disk = rustix::fs::statvfs(existing);
    Condition {
        exists: metadata.is_some(),
        writable: tempfile::tempfile_in(existing).map(drop),
        is_open_to_others: metadata.is_some_and(|metadata| metadata.mode() & 0o077 != 0),
        free: disk.map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize)).map_err(io::Error::from),
    }
}
