//! [`BlobWriter`]: the one way bytes become finished content, in any order, over as many attempts and runs of the daemon
//! as it takes.
//!
//! Bytes in flight lie in a sparse file in `staging/`, named by their digest, with a journal of what is there beside it. Dropped,
//! a writer leaves nothing behind; put to rest, it leaves both files to the next writer of the same digest.

use std::{
    fs::{self, File, FileTimes, OpenOptions},
    io,
    ops::Range,
    os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::SystemTime,
};

use super::{
    BlobStore,
    journal::{self, Journal, There},
};
use crate::oci::{Digest, Repository, Verifier};

/// What is read at once to be hashed.
const HASH_CHUNK: u64 = 256 * 1024;
/// So far the digest may lag behind bytes that come in order for them to wait until it has caught up.
const MISSED: u64 = 2 * 1024 * 1024;
/// What a staging file and its journal take of the disk when they are made, and what is put there next.
const FILES: u64 = 1024 * 1024;
/// The unit in which `st_blocks` counts, whatever the file system.
pub(super) const BLOCK: u64 = 512;

/// Bytes on their way to become content.
#[derive(Debug)]
pub struct BlobWriter {
    store: BlobStore,
    digest: Digest,
    /// where they come from
    from: Repository,
    file: Arc<File>,
    path: PathBuf,
    journal: Option<Journal>,
    hashing: Mutex<Hashing>,
    /// how far the digest is computed, for who must not wait for it
    hashed: AtomicU64,
    /// what it takes of the disk, as far as that was told to the store
    staged: AtomicU64,
    /// whether both files stay when this is dropped
    rests: AtomicBool,
}

/// Bytes whose digest agreed, not yet where readers of the store find them.
#[derive(Debug)]
pub struct VerifiedBlob {
    writer: Arc<BlobWriter>,
    size: u64,
}

/// How far the digest is computed.
#[derive(Debug)]
struct Hashing {
    verifier: Verifier,
    to: u64,
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
    /// Starts content of this digest, or takes it up where a former writer was put to rest or died.
    pub fn write(&self, digest: &Digest, from: &Repository) -> io::Result<(BlobWriter, There)> {
        // somebody else writes the same: both go their own way, and the last one in place counts
        if !self.inner().writing.lock().unwrap_or_else(PoisonError::into_inner).insert(digest.clone()) {
            return Ok((self.with_room(|| self.write_once(digest, from))?, There::default()));
        }
        let opened = self.with_room(|| self.open_staging(digest, from));
        if opened.is_err() {
            self.written(digest);
        }
        opened
    }

    fn open_staging(&self, digest: &Digest, from: &Repository) -> io::Result<(BlobWriter, There)> {
        let path = self.staging().join(digest.hex());
        let length = fs::metadata(&path).map(|metadata| metadata.len()).unwrap_or_default();
        let entry = journal::read(&path).filter(|entry| entry.synced && entry.there.end() <= length);
        let there = entry.map(|entry| entry.there).unwrap_or_default();
        let file = self.staging_file(&path, there.extents.is_empty())?;
        let journal = Journal::open(&path, from, &there)?;
        let writer = self.writer(digest, from, file, path, Some(journal));
        writer.count()?;
        Ok((writer, there))
    }

    /// Starts content that is not worth taking up: it is small, or somebody else writes the same.
    fn write_once(&self, digest: &Digest, from: &Repository) -> io::Result<BlobWriter> {
        let number = self.inner().next_staging.fetch_add(1, Ordering::Relaxed);
        let path = self.staging().join(format!("{}-{number}", digest.hex()));
        let file = self.staging_file(&path, true)?;
        Ok(self.writer(digest, from, file, path, None))
    }

    /// Keeps `bytes`, which are of this digest.
    pub(super) fn put_content(&self, digest: &Digest, from: &Repository, bytes: &[u8]) -> Result<(), CommitError> {
        let failed = |source| CommitError::Io { path: self.path(digest), source };
        let writer = Arc::new(self.with_room(|| self.write_once(digest, from)).map_err(failed)?);
        writer.write_at(0, bytes).map_err(failed)?;
        writer.verify(bytes.len() as u64)?.commit()
    }

    /// Whether somebody writes content of this digest.
    pub(super) fn is_written(&self, digest: &Digest) -> bool {
        self.inner().writing.lock().unwrap_or_else(PoisonError::into_inner).contains(digest)
    }

    pub(super) fn written(&self, digest: &Digest) {
        self.inner().writing.lock().unwrap_or_else(PoisonError::into_inner).remove(digest);
    }

    pub(super) fn staging(&self) -> PathBuf {
        self.inner().dir.join("staging")
    }

    /// Does `open`; on a disk so full that it takes no new file, once more when there is room.
    fn with_room<T>(&self, open: impl Fn() -> io::Result<T>) -> io::Result<T> {
        match open() {
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                self.make_room(FILES)?;
                open()
            }
            opened => opened,
        }
    }

    fn staging_file(&self, path: &Path, anew: bool) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(anew).mode(0o600);
        match options.open(path) {
            // a cache invites deletion: whoever deleted it meant the content, not the daemon
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(self.staging())?;
                options.open(path)
            }
            opened => opened,
        }
    }

    fn writer(
        &self,
        digest: &Digest,
        from: &Repository,
        file: File,
        path: PathBuf,
        journal: Option<Journal>,
    ) -> BlobWriter {
        BlobWriter {
            store: self.clone(),
            digest: digest.clone(),
            from: from.clone(),
            file: Arc::new(file),
            path,
            journal,
            hashing: Mutex::new(Hashing { verifier: Verifier::new(), to: 0 }),
            hashed: AtomicU64::new(0),
            staged: AtomicU64::new(0),
            rests: AtomicBool::new(false),
        }
    }
}

impl VerifiedBlob {
    /// Puts the bytes where readers find them, so that they are there also after a power cut.
    pub fn commit(self) -> Result<(), CommitError> {
        let path = self.writer.store.path(&self.writer.digest);
        self.writer.place(self.size).map_err(|source| CommitError::Io { path, source })
    }
}

impl BlobWriter {
    /// The file under way, for readers that follow the writer.
    #[must_use]
    pub fn file(&self) -> Arc<File> {
        Arc::clone(&self.file)
    }

    /// Writes bytes at their place, and all that belongs to it: [`put`](Self::put), [`hash_next`](Self::hash_next) and
    /// [`note`](Self::note).
    pub fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.put(at, bytes)?;
        self.hash_next(at, bytes, false)?;
        self.note(at..at + bytes.len() as u64)
    }

    /// Puts bytes in their place. They can be read from [`file`](Self::file) when this returns. May be called for different
    /// places at once.
    pub fn put(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, at)
    }

    /// Goes on with the digest if these bytes, put in their place just now, are the next ones: while they are still warm.
    /// With `is_front`, all bytes before them are there: a few that were missed are read again first.
    pub fn hash_next(&self, at: u64, bytes: &[u8], is_front: bool) -> io::Result<()> {
        // who hashes what came before goes on to these anyway
        let Ok(mut hashing) = self.hashing.try_lock() else { return Ok(()) };
        if is_front && hashing.to < at && at - hashing.to <= MISSED {
            self.hash_file(&mut hashing, at)?;
        }
        if hashing.to == at {
            self.hash(&mut hashing, bytes);
        }
        Ok(())
    }

    /// Remembers that these bytes are in their place, and what they take of the disk.
    pub fn note(&self, there: Range<u64>) -> io::Result<()> {
        if let Some(journal) = &self.journal {
            journal.there(there)?;
        }
        self.count()
    }

    /// How far the digest is computed.
    #[must_use]
    pub fn hashed(&self) -> u64 {
        self.hashed.load(Ordering::Relaxed)
    }

    /// Computes the digest as far as `end`; all bytes before it must be there.
    pub fn hash_to(&self, end: u64) -> io::Result<()> {
        self.hash_file(&mut self.hashing.lock().unwrap_or_else(PoisonError::into_inner), end)
    }

    fn hash_file(&self, hashing: &mut Hashing, end: u64) -> io::Result<()> {
        let mut chunk = Vec::new();
        while hashing.to < end {
            chunk.resize(usize::try_from(HASH_CHUNK.min(end - hashing.to)).map_err(io::Error::other)?, 0);
            self.file.read_exact_at(&mut chunk, hashing.to)?;
            self.hash(hashing, &chunk);
        }
        Ok(())
    }

    fn hash(&self, hashing: &mut Hashing, bytes: &[u8]) {
        hashing.verifier.update(bytes);
        hashing.to += bytes.len() as u64;
        self.hashed.store(hashing.to, Ordering::Relaxed);
    }

    /// The blob is of this size: for whoever takes it up later.
    pub fn note_size(&self, size: u64) -> io::Result<()> {
        self.journal.as_ref().map_or(Ok(()), |journal| journal.size(size))
    }

    /// Compares the digest of all `size` bytes, which must be there.
    pub fn verify(self: &Arc<Self>, size: u64) -> Result<VerifiedBlob, CommitError> {
        let path = &self.path;
        self.hash_to(size).map_err(|source| CommitError::Io { path: path.clone(), source })?;
        let got = self.hashing.lock().unwrap_or_else(PoisonError::into_inner).verifier.clone().finish();
        if got != self.digest {
            return Err(CommitError::Corrupt { want: self.digest.clone(), got });
        }
        Ok(VerifiedBlob { writer: Arc::clone(self), size })
    }

    /// Leaves what is there to the next writer of the same digest, also after a power cut.
    pub fn rest(&self) -> io::Result<()> {
        self.file.sync_data()?;
        if let Some(journal) = &self.journal {
            journal.synced()?;
            self.rests.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    fn place(&self, size: u64) -> io::Result<()> {
        // as good as read now: a file system without access times must not make a fresh blob look old
        let _ = self.file.set_times(FileTimes::new().set_accessed(SystemTime::now()));
        self.file.sync_data()?;
        self.store.place(&self.digest, &self.from, &self.path, size)
    }

    /// Tells the store what this takes of the disk.
    fn count(&self) -> io::Result<()> {
        let taken = self.file.metadata()?.blocks() * BLOCK;
        let before = self.staged.swap(taken, Ordering::Relaxed);
        self.store.staged(taken.saturating_sub(before));
        self.store.unstaged(before.saturating_sub(taken));
        Ok(())
    }
}

impl Drop for BlobWriter {
    fn drop(&mut self) {
        self.store.unstaged(self.staged.load(Ordering::Relaxed));
        if self.rests.load(Ordering::Relaxed) {
            self.store.written(&self.digest);
            return;
        }
        // after a commit the name is gone already; any other failure is mended when the daemon starts
        let _ = fs::remove_file(&self.path);
        if self.journal.is_some() {
            journal::remove(&self.path);
            self.store.written(&self.digest);
        }
    }
}
