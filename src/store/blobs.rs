//! [`BlobStore`]: finished content by digest, and the one way bytes become finished content.
//!
//! A reader gets verified bytes or nothing. Nothing here knows where bytes come from.

use std::{
    fs::{self, File, FileTimes, OpenOptions},
    io,
    num::NonZeroU64,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use super::{
    OpenError, folder,
    leases::{Lease, Leases},
    sweep,
};
use crate::oci::{Digest, Verifier};

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
    next_staging: AtomicU64,
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

/// Bytes on their way to become content. Dropped without [`commit`](Self::commit) they are deleted.
#[derive(Debug)]
pub struct BlobWriter {
    store: BlobStore,
    digest: Digest,
    file: Arc<File>,
    path: PathBuf,
    verifier: Verifier,
    written: u64,
}

/// Why bytes did not become content. They are deleted in every case.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The bytes are not those the digest names.
    #[error("bytes of digest {got} came for {want}")]
    Corrupt {
        /// What was asked for.
        want: Digest,
        /// What came.
        got: Digest,
    },
    /// The system refused to keep them.
    #[error("cache file {}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
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

    /// Starts content of this digest.
    pub fn write(&self, digest: &Digest) -> io::Result<BlobWriter> {
        let number = self.0.next_staging.fetch_add(1, Ordering::Relaxed);
        let path = self.0.dir.join("staging").join(format!("{}-{number}", digest.hex()));
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = match options.open(&path) {
            // a cache invites deletion: whoever deleted it meant the content, not the daemon
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(self.0.dir.join("staging"))?;
                options.open(&path)
            }
            opened => opened,
        };
        let file = Arc::new(file?);
        let (store, digest) = (self.clone(), digest.clone());
        Ok(BlobWriter { store, digest, file, path, verifier: Verifier::new(), written: 0 })
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

    pub(super) fn inner(&self) -> &Inner {
        &self.0
    }
}

impl BlobWriter {
    /// The file under way, for readers that follow the writer.
    #[must_use]
    pub fn file(&self) -> Arc<File> {
        Arc::clone(&self.file)
    }

    /// How many bytes are written.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Writes the next bytes. They can be read from [`file`](Self::file) when this returns.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        use std::os::unix::fs::FileExt as _;
        self.file.write_all_at(bytes, self.written)?;
        self.verifier.update(bytes);
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// Puts the bytes where readers find them, after their digest agreed.
    pub fn commit(self) -> Result<(), CommitError> {
        let got = self.verifier.clone().finish();
        if got != self.digest {
            return Err(CommitError::Corrupt { want: self.digest.clone(), got });
        }
        let path = self.store.path(&self.digest);
        self.place(&path).map_err(|source| CommitError::Io { path, source })
    }

    fn place(&self, path: &Path) -> io::Result<()> {
        let parent = path.parent().expect("a content path has folders");
        // as good as read now: a file system without access times must not make a fresh blob look old
        let _ = self.file.set_times(FileTimes::new().set_accessed(SystemTime::now()));
        self.file.sync_data()?;
        // before the content: content without its size is a miss, never the other way round
        self.store.record_size(&self.digest, self.written)?;
        fs::create_dir_all(parent)?;
        let replaced = fs::metadata(path).map(|metadata| metadata.len()).unwrap_or_default();
        fs::rename(&self.path, path)?;
        folder::sync(parent)?;
        let inner = self.store.inner();
        let used = inner.used.fetch_add(self.written, Ordering::Relaxed) + self.written;
        self.store.forget(replaced);
        if used > inner.bound {
            inner.full.notify_one();
        }
        Ok(())
    }
}

impl Drop for BlobWriter {
    fn drop(&mut self) {
        // after a commit the name is gone already; any other failure is mended when the daemon starts
        let _ = fs::remove_file(&self.path);
    }
}
