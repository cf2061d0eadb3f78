//! Keeping the content within its bound: what was read least recently goes first.
//!
//! Content that is open stays, whatever its age. Records of content that went stay too: a record without content is a miss.

use std::{
    fs::{self, DirEntry},
    io,
    num::NonZeroU64,
    path::{Path, PathBuf},
    sync::atomic::Ordering,
    time::SystemTime,
};

use tracing::{info, warn};

use super::BlobStore;
use crate::oci::Digest;

/// How far below its bound a sweep brings the content, so that sweeps are rare: a tenth.
const HEADROOM: u64 = 10;
/// The most that is kept without being asked to.
const MOST: u64 = 50_000_000_000;
/// The part of the free disk that is kept without being asked to.
const SHARE: u64 = 5;

pub(super) struct Content {
    read_at: SystemTime,
    pub(super) size: u64,
    pub(super) digest: Digest,
    pub(super) path: PathBuf,
}

/// The bound when none is configured: the smaller of 50 GB and a fifth of the free disk around `dir`, where what the
/// cache holds already counts as free.
pub fn default_size(dir: &Path) -> io::Result<NonZeroU64> {
    default_bound(dir, kept(dir)?)
}

/// The same for a folder of which it is known how many bytes of content it holds.
pub(super) fn default_bound(dir: &Path, kept: u64) -> io::Result<NonZeroU64> {
    let existing = dir.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let disk = rustix::fs::statvfs(existing)?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    Ok(NonZeroU64::new(MOST.min((free + kept) / SHARE)).unwrap_or(NonZeroU64::MIN))
}

/// What stays free when nothing is configured: the smaller of 1 GB and a twentieth of the disk around `dir`.
pub fn default_free(dir: &Path) -> io::Result<u64> {
    const MOST_FREE: u64 = 1_000_000_000;
    const PART: u64 = 20;
    let existing = dir.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let disk = rustix::fs::statvfs(existing)?;
    Ok(MOST_FREE.min(disk.f_blocks.saturating_mul(disk.f_frsize) / PART))
}

/// How many bytes of finished content a folder holds.
pub(super) fn kept(dir: &Path) -> io::Result<u64> {
    Ok(total(&contents(dir)?))
}

fn total(contents: &[Content]) -> u64 {
    contents.iter().map(|content| content.size).sum()
}

impl BlobStore {
    /// Bytes of finished content.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.inner().used.load(Ordering::Relaxed)
    }

    /// How many bytes of finished content may be kept.
    #[must_use]
    pub fn bound(&self) -> u64 {
        self.inner().bound
    }

    /// Waits until there is more content than the bound allows.
    pub async fn full(&self) {
        self.inner().full.notified().await;
    }

    /// Deletes content, least recently read first, until there is a tenth less than the bound. Returns how much went.
    pub fn sweep(&self) -> io::Result<u64> {
        let inner = self.inner();
        if self.used() <= inner.bound {
            return Ok(0);
        }
        let mut goal = inner.bound - inner.bound / HEADROOM;
        let mut contents = contents(&inner.dir)?;
        // what is really there counts: the running sum may have drifted
        inner.used.store(total(&contents), Ordering::Relaxed);
        // what can never stay goes before what can, or one blob would empty the cache
        let fits = goal;
        contents.sort_unstable_by_key(|content| (content.size <= fits, content.read_at));
        let mut freed = 0;
        for content in contents {
            if self.used() <= goal {
                break;
            }
            if inner.leases.is_taken(&content.digest) {
                // it goes with the next sweep; until then the others do not pay for it
                goal += if content.size > fits { content.size } else { 0 };
                continue;
            }
            match fs::remove_file(&content.path) {
                Ok(()) => {
                    self.forget(content.size);
                    freed += content.size;
                }
                Err(error) => warn!(path = %content.path.display(), %error, "content could not be deleted"),
            }
        }
        info!(freed, used = self.used(), bound = inner.bound, "cache swept");
        Ok(freed)
    }

    /// So many bytes are gone.
    pub(super) fn forget(&self, bytes: u64) {
        let less = |used: u64| Some(used.saturating_sub(bytes));
        // an update that always gives a value cannot fail
        let _ = self.inner().used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }
}

pub(super) fn contents(dir: &Path) -> io::Result<Vec<Content>> {
    let mut contents = Vec::new();
    for first in entries(&dir.join("content-v2").join("sha256"))? {
        for second in entries(&first.path())? {
            for file in entries(&second.path())? {
                contents.extend(content(&first, &second, &file)?);
            }
        }
    }
    Ok(contents)
}

fn entries(dir: &Path) -> io::Result<Vec<DirEntry>> {
    match fs::read_dir(dir) {
        Ok(entries) => entries.collect(),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// A file whose path spells no digest is not ours to delete.
fn content(first: &DirEntry, second: &DirEntry, file: &DirEntry) -> io::Result<Option<Content>> {
    let names = [first, second, file].map(|entry| entry.file_name().to_string_lossy().into_owned());
    let Ok(digest) = format!("sha256:{}", names.concat()).parse() else {
        return Ok(None);
    };
    let metadata = match file.metadata() {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let read_at = metadata.accessed()?;
    Ok(Some(Content { read_at, size: metadata.len(), digest, path: file.path() }))
}
