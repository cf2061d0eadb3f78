//! [`BlobStore`]: finished content by digest.
//!
//! A reader gets verified bytes or nothing. Nothing here knows where bytes come from.

use std::{
    collections::HashSet,
    fs::{self, File, FileTimes},
    io,
    num::NonZeroU64,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use super::{
    OpenError, folder,
    leases::{Lease, Leases},
    sweep,
};
use crate::oci::{Digest, Repository};

/// The finished content of a cache folder. Cheap to clone.
#[derive(Clone, Debug)]
pub struct BlobStore(Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) dir: PathBuf,
    pub(super) leases: Leases,
    /// bytes of finished content
    pub(super) used: AtomicU64,
    /// bytes of finished content that may be kept
    pub(super) bound: u64,
    /// woken when `used` passes `bound`
    pub(super) full: tokio::sync::Notify,
    pub(super) next_staging: AtomicU64,
    /// what is being written, each by one writer that can be put to rest
    pub(super) writing: Mutex<HashSet<Digest>>,
    /// bytes of the disk that what is being written takes
    staged: AtomicU64,
    _lock: File,
}

/// Finished content, open.
#[derive(Debug)]
pub struct BlobReader {
    /// The open file; read it at offsets, its position is shared.
    pub file: Arc<File>,
    /// How many bytes it has.
    pub size: u64,
    _lease: Lease,
}

impl BlobStore {
    /// Takes the cache folder `dir`, for at most `bound` bytes of content, or the default of this disk. One process at a
    /// time can have it.
    pub fn open(dir: &Path, bound: Option<NonZeroU64>) -> Result<Self, OpenError> {
        let failed = |source| folder::io_error(dir, source);
        let lock = folder::take(dir)?;
        let used = sweep::kept(dir).map_err(failed)?;
        let bound = bound.map_or_else(|| sweep::default_bound(dir, used), Ok).map_err(failed)?.get();
        let full = tokio::sync::Notify::new();
        if used > bound {
            full.notify_one();
        }
        let inner = Inner {
            dir: dir.to_owned(),
            leases: Leases::default(),
            used: AtomicU64::new(used),
            bound,
            full,
            next_staging: AtomicU64::new(0),
            writing: Mutex::default(),
            staged: AtomicU64::new(0),
            _lock: lock,
        };
        Ok(Self(Arc::new(inner)))
    }

    /// Opens finished content and marks it as read now.
    pub fn read(&self, digest: &Digest) -> io::Result<Option<BlobReader>> {
        let lease = self.0.leases.take(digest);
        let file = match File::open(self.path(digest)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let size = file.metadata()?.len();
        if self.recorded_size(digest)? != Some(size) {
            tracing::warn!(%digest, size, "cached content has not the size it was verified with and is fetched again");
            self.remove(digest)?;
            return Ok(None);
        }
        // the order of eviction, not the content: a file system that refuses it is no reason to refuse the read
        let _ = file.set_times(FileTimes::new().set_accessed(SystemTime::now()));
        Ok(Some(BlobReader { file: Arc::new(file), size, _lease: lease }))
    }

    /// Drops content that turned out not to be what its name says.
    pub fn remove(&self, digest: &Digest) -> io::Result<()> {
        let path = self.path(digest);
        let size = fs::metadata(&path).map(|metadata| metadata.len()).unwrap_or_default();
        match fs::remove_file(path) {
            Ok(()) => self.forget(size),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Err(_) => {}
        }
        Ok(())
    }

    /// Where content of this digest lies when it is finished: cacache's content path, which a test compares.
    pub(super) fn path(&self, digest: &Digest) -> PathBuf {
        let hex = digest.hex();
        let mut path = self.0.dir.join("content-v2");
        path.extend(["sha256", &hex[..2], &hex[2..4], &hex[4..]]);
        path
    }

    /// Content was put in its place; content of `replaced` bytes had been there.
    pub(super) fn placed(&self, _digest: &Digest, _from: &Repository, size: u64, replaced: u64) {
        let used = self.0.used.fetch_add(size, Ordering::Relaxed) + size;
        self.forget(replaced);
        if used > self.0.bound {
            self.0.full.notify_one();
        }
    }

    /// So many more bytes of the disk are taken by what is being written.
    pub(super) fn staged(&self, bytes: u64) {
        self.0.staged.fetch_add(bytes, Ordering::Relaxed);
    }

    /// So many fewer.
    pub(super) fn unstaged(&self, bytes: u64) {
        self.0.staged.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Makes room for `bytes` on a disk that is full, by deleting what was read least recently. Returns how much was freed.
    pub fn make_room(&self, _bytes: u64) -> io::Result<u64> {
        self.sweep()
    }

    pub(super) fn inner(&self) -> &Inner {
        &self.0
    }
}
