//! [`BlobStore`]: finished content by digest.
//!
//! A reader gets bytes that were verified, or nothing. Nothing here knows where bytes come from.

use std::{
    collections::HashSet,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Instant, SystemTime},
};

use super::{
    Limits, OpenError,
    contents::{Contents, Doubt, Held, Table},
    folder,
    leases::{Lease, Leases},
    limits::{self, Bounds},
    mark,
    pins::Pin,
    scrub::Scrub,
    turns::Turns,
    walk,
};
use crate::oci::{Digest, Repository};

/// What is written of a blob before the disk is looked at again.
const STEP: u64 = 64 * 1024 * 1024;
/// What the records of one content may take of the disk.
const RECORD_ROOM: u64 = 64 * 1024;

/// The finished content of a cache folder. Cheap to clone.
#[derive(Clone, Debug)]
pub struct BlobStore(Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) dir: PathBuf,
    pub(super) leases: Leases,
    pub(super) contents: Contents,
    /// bytes of the disk that the index and the folders of content take
    pub(super) tree: AtomicU64,
    /// the same for all else, downloads under way left out, when it was last looked at
    pub(super) beside: AtomicU64,
    pub(super) bounds: Bounds,
    /// woken when there is more than there may be
    pub(super) full: tokio::sync::Notify,
    /// woken when content is to be verified at once
    pub(super) doubt: tokio::sync::Notify,
    pub(super) scrub: Mutex<Scrub>,
    /// of those that verify what is in doubt
    turns: Turns,
    pub(super) pins: Mutex<Vec<Pin>>,
    pub(super) next_staging: AtomicU64,
    /// what is being written, each by one writer that can be put to rest
    pub(super) writing: Mutex<HashSet<Digest>>,
    /// bytes of the disk that what is being written takes
    staged: AtomicU64,
    /// held by whoever sweeps; when a sweep last looked for dead records
    pub(super) sweeping: Mutex<Option<Instant>>,
    changing: Mutex<()>,
    _lock: File,
}

/// The right to change files of content and index. Taken before the table of contents, never while holding it.
pub(super) type Changing<'a> = MutexGuard<'a, ()>;

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
    /// Takes the cache folder `dir`, within `limits`. One process at a time can have it.
    pub fn open(dir: &Path, limits: impl Into<Limits>) -> Result<Self, OpenError> {
        let lock = folder::take(dir)?;
        let doubted_since = mark::running(dir);
        let start = super::start::look(dir, doubted_since);
        let used = start.table.taken() + start.tree + walk::taken_beside(dir);
        let bounds = Bounds::new(dir, limits.into(), used).map_err(|source| folder::io_error(dir, source))?;
        let (leases, full, doubt, next_staging, writing, staged, sweeping, changing) = Default::default();
        let store = Self(Arc::new(Inner {
            dir: dir.to_owned(),
            leases,
            contents: Contents::new(start.table),
            tree: AtomicU64::new(start.tree),
            beside: AtomicU64::default(),
            bounds,
            full,
            doubt,
            scrub: Mutex::new(Scrub::default()),
            turns: Turns::default(),
            pins: Mutex::new(start.pins),
            next_staging,
            writing,
            staged,
            sweeping,
            changing,
            _lock: lock,
        }));
        store.refresh_pins();
        store.look_beside();
        store.check_room();
        Ok(store)
    }

    /// Content is served from memory: it is read now. How often anything was taken away so far: a copy in memory from before
    /// another count may be of what is gone. `None` when the content is.
    #[must_use]
    pub fn touch(&self, digest: &Digest) -> Option<u64> {
        let mut table = self.table();
        table.read(digest, SystemTime::now())?;
        Some(table.losses)
    }

    /// Opens finished content and marks it as read now. Content that is not what it was when it was verified is not there.
    pub fn read(&self, digest: &Digest) -> io::Result<Option<BlobReader>> {
        let (lease, is_only) = self.0.leases.take(digest);
        let now = SystemTime::now();
        let Some(mut known) = self.table().read(digest, now) else {
            return Ok(None);
        };
        loop {
            let file = match File::open(self.path(digest)) {
                Ok(file) => Arc::new(file),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    self.discard(digest, "its file is gone");
                    return Ok(None);
                }
                Err(error) => return Err(error),
            };
            let metadata = file.metadata()?;
            if metadata.len() != known.size {
                self.discard(digest, "it has not the size it was verified with");
                return Ok(None);
            }
            match known.doubt(metadata.modified()?, is_only, now) {
                Doubt::None => {}
                Doubt::Meanwhile => self.suspect(digest),
                Doubt::Now => match self.0.turns.take(digest) {
                    Some(_turn) if self.verify_file(digest, &file) => {}
                    Some(_) => return Ok(None),
                    // somebody else found out what is true of it
                    None => match self.table().get(digest).cloned() {
                        Some(found) => {
                            known = found;
                            continue;
                        }
                        None => return Ok(None),
                    },
                },
            }
            return Ok(Some(BlobReader { file, size: known.size, _lease: lease }));
        }
    }

    /// How many bytes finished content has, if it is there in this length; it does not count as read.
    pub fn size(&self, digest: &Digest) -> io::Result<Option<u64>> {
        let Some(size) = self.table().get(digest).map(|held| held.size) else {
            return Ok(None);
        };
        match fs::metadata(self.path(digest)) {
            Ok(metadata) if metadata.len() == size => Ok(Some(size)),
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => {
                self.discard(digest, "its file is not the one that was verified");
                Ok(None)
            }
        }
    }

    /// Puts the file `staged`, whose `size` bytes are of this digest, where readers find it.
    pub(super) fn place(&self, digest: &Digest, from: &Repository, staged: &Path, size: u64) -> io::Result<()> {
        match self.place_once(digest, from, staged, size) {
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                self.make_room(RECORD_ROOM)?;
                self.place_once(digest, from, staged, size)
            }
            placed => placed,
        }?;
        self.check_room();
        Ok(())
    }

    fn place_once(&self, digest: &Digest, from: &Repository, staged: &Path, size: u64) -> io::Result<()> {
        let path = self.path(digest);
        let parent = path.parent().expect("a content path has folders");
        let changing = self.changing();
        // before the content: content without its record is deleted at the next start, never the other way round
        self.record_content(&changing, digest, &from.registry, size)?;
        self.counted(&changing, parent, || {
            fs::create_dir_all(parent)?;
            fs::rename(staged, &path)
        })?;
        let metadata = fs::metadata(&path)?;
        let now = SystemTime::now();
        self.table().insert(
            digest,
            Held {
                size,
                taken: walk::taken(&path),
                read_at: now,
                verified_at: now,
                changed_at: metadata.modified()?,
                from: Some(Arc::new(from.registry.clone())),
                is_read_since: false,
            },
        );
        drop(changing);
        // a power cut before this is as if it had never come; after it, both are there
        for path in [self.content_bucket(digest).as_path(), parent] {
            match folder::sync(path) {
                // swept already
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                synced => synced?,
            }
        }
        Ok(())
    }

    /// Forgets content whose file is not what it was, unless somebody has put it right meanwhile.
    pub(super) fn discard(&self, digest: &Digest, why: &str) {
        let changing = self.changing();
        let path = self.path(digest);
        let known = self.table().get(digest).map(|held| held.size);
        if known.is_none() || fs::metadata(&path).ok().map(|metadata| metadata.len()) == known {
            return;
        }
        self.table().remove(digest);
        tracing::warn!(event = "damaged", %digest, why, "cached content is not what it was and is fetched again");
        self.counted(&changing, path.parent().unwrap_or(&path), || match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %path.display(), %error, "damaged content could not be deleted");
            }
            _ => {}
        });
        self.remove_content_record(&changing, digest);
    }

    /// Where content of this digest lies when it is finished: cacache's content path, which a test compares.
    pub(super) fn path(&self, digest: &Digest) -> PathBuf {
        let hex = digest.hex();
        let mut path = self.0.dir.join(walk::CONTENT);
        path.extend(["sha256", &hex[..2], &hex[2..4], &hex[4..]]);
        path
    }

    pub(super) fn changing(&self) -> Changing<'_> {
        self.0.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does work on the file or folder `path` of content or index, and counts what it and the folders around it take.
    pub(super) fn counted<T>(&self, _: &Changing<'_>, path: &Path, work: impl FnOnce() -> T) -> T {
        let around = || path.ancestors().take_while(|path| *path != self.0.dir).map(walk::taken).sum::<u64>();
        let before = around();
        let done = work();
        let after = around();
        // under the lock of changes nobody else counts
        let tree = (self.0.tree.load(Ordering::Relaxed) + after).saturating_sub(before);
        self.0.tree.store(tree, Ordering::Relaxed);
        done
    }

    /// So many more bytes of the disk are taken by what is being written.
    pub(super) fn staged(&self, bytes: u64) {
        let before = self.0.staged.fetch_add(bytes, Ordering::Relaxed);
        if before / STEP != (before + bytes) / STEP {
            self.check_room();
        }
    }

    /// So many fewer.
    pub(super) fn unstaged(&self, bytes: u64) {
        self.0.staged.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Wakes the sweep when there is more than there may be.
    fn check_room(&self) {
        let bounds = &self.0.bounds;
        // a disk that does not say how full it is is not taken for a full one
        let is_disk_full = limits::free(&self.0.dir).is_ok_and(|free| free < bounds.min_free);
        if is_disk_full || self.held() > bounds.max_size || !self.over_quota().is_empty() {
            self.0.full.notify_one();
        }
    }

    pub(super) fn table(&self) -> MutexGuard<'_, Table> {
        self.0.contents.lock()
    }

    pub(super) fn inner(&self) -> &Inner {
        &self.0
    }
}
