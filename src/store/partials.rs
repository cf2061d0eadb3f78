//! Downloads that rest: what a writer left that was put to rest, or whose daemon died.
//!
//! Nothing here is served before a writer took it up and its digest agreed.

use std::{fs, io, path::Path, sync::PoisonError};

use super::{BlobStore, journal};
use crate::oci::{Digest, Repository};

/// A download that was broken off and can be taken up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partial {
    /// Of which content.
    pub digest: Digest,
    /// Where it came from.
    pub from: Repository,
}

impl BlobStore {
    /// Downloads that nobody works on.
    pub fn partials(&self) -> io::Result<Vec<Partial>> {
        let mut partials = Vec::new();
        for entry in fs::read_dir(self.staging())?.flatten() {
            let digest = entry.file_name().to_str().and_then(|name| format!("sha256:{name}").parse::<Digest>().ok());
            let Some(digest) = digest.filter(|digest| !self.is_written(digest)) else { continue };
            if let Some(entry) = journal::read(&entry.path()) {
                partials.push(Partial { digest, from: entry.from });
            }
        }
        Ok(partials)
    }

    /// Drops a download that nobody works on.
    pub fn drop_partial(&self, digest: &Digest) {
        // while it goes, it counts as written: who takes it up meanwhile starts anew, in a file of its own
        if self.inner().writing.lock().unwrap_or_else(PoisonError::into_inner).insert(digest.clone()) {
            let path = self.staging().join(digest.hex());
            journal::remove(&path);
            // one that is gone already is what is wanted; one that stays is tried again with the next sweep
            let _ = fs::remove_file(&path);
            self.written(digest);
        }
    }
}

/// Deletes what nobody will take up of what a dead daemon left in the staging folder, and makes the folder if need be.
pub(super) fn clean(staging: &Path) -> io::Result<()> {
    fs::create_dir_all(staging)?;
    for entry in fs::read_dir(staging)?.flatten() {
        let path = entry.path();
        let file = path.with_extension("");
        let is_named = file.file_name().and_then(|name| name.to_str()).is_some_and(|name| {
            let is_digest = format!("sha256:{name}").parse::<Digest>().is_ok();
            is_digest && path.extension().is_none_or(|extension| extension == "journal")
        });
        if is_named && file.is_file() && journal::read(&file).is_some_and(|entry| !entry.there.extents.is_empty()) {
            continue;
        }
        if entry.file_type()?.is_dir() { fs::remove_dir_all(path)? } else { fs::remove_file(path)? }
    }
    Ok(())
}
