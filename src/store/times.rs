//! Times that change with every request and are worth keeping: when content was read, when upstream was asked for a
//! manifest. They live in memory and go to the disk now and then: never a write for a read.
//!
//! The time of the last read is the file's access time, set by us, so it is right where the system keeps none. A daemon
//! that is killed forgets what was read since the last flush, a minute at most.

use std::{
    collections::HashMap,
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::PoisonError,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_OMIT, utimensat};

use super::{BlobStore, mark};
use crate::oci::{Digest, Repository};

/// A contact that is older tells nothing any more.
const FORGOTTEN: Duration = Duration::from_hours(60 * 24);

/// When upstream was last asked for which manifest.
#[derive(Debug, Default)]
pub(super) struct Contacts {
    at: HashMap<String, SystemTime>,
    is_changed: bool,
}

impl Contacts {
    pub(super) fn read(dir: &Path) -> Self {
        // without it, upstream is asked once too often
        let text = fs::read_to_string(file(dir)).unwrap_or_default();
        let lines = text.lines().filter_map(|line| {
            let (seconds, key) = line.split_once(' ')?;
            Some((key.to_owned(), UNIX_EPOCH.checked_add(Duration::from_secs(seconds.parse().ok()?))?))
        });
        Self { at: lines.collect(), is_changed: false }
    }

    /// The text of the file, if it is another than the last one.
    fn changed(&mut self, now: SystemTime) -> Option<String> {
        if !std::mem::take(&mut self.is_changed) {
            return None;
        }
        self.at.retain(|_, at| now.duration_since(*at).is_ok_and(|age| age < FORGOTTEN));
        let mut text = String::new();
        for (key, at) in &self.at {
            let seconds = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
            text.extend([&seconds.to_string(), " ", key, "\n"]);
        }
        Some(text)
    }
}

fn file(dir: &Path) -> PathBuf {
    dir.join("contacts")
}

fn key(repository: &Repository, digest: &Digest) -> String {
    format!("{repository}@{digest}")
}

impl BlobStore {
    /// Upstream was asked for this manifest now.
    pub fn note_contact(&self, repository: &Repository, digest: &Digest) {
        let mut contacts = self.inner().contacts.lock().unwrap_or_else(PoisonError::into_inner);
        contacts.at.insert(key(repository, digest), SystemTime::now());
        contacts.is_changed = true;
    }

    /// When upstream was last asked for this manifest, to the second after a restart.
    #[must_use]
    pub fn contact(&self, repository: &Repository, digest: &Digest) -> Option<SystemTime> {
        let contacts = self.inner().contacts.lock().unwrap_or_else(PoisonError::into_inner);
        contacts.at.get(&key(repository, digest)).copied()
    }

    /// Brings the times that changed to the disk.
    pub fn flush(&self) {
        let now = SystemTime::now();
        let mut read = Vec::new();
        for (digest, held) in self.table().iter_mut() {
            if std::mem::take(&mut held.is_read_since) {
                read.push((digest.clone(), held.read_at));
            }
        }
        for (digest, at) in read {
            // the order of eviction, not the content: one that is gone has no place in it
            let _ = set_read(&self.path(&digest), at);
        }
        let changed = self.inner().contacts.lock().unwrap_or_else(PoisonError::into_inner).changed(now);
        if let Some(text) = changed
            && let Err(error) = replace(&self.inner().dir, &text)
        {
            self.inner().contacts.lock().unwrap_or_else(PoisonError::into_inner).is_changed = true;
            tracing::debug!(%error, "the times of questions to upstream could not be kept");
        }
    }

    /// The last that is done before the daemon ends in order.
    pub fn stop(&self) {
        self.flush();
        if !self.has_doubts() {
            mark::stopped(&self.inner().dir);
        }
    }
}

fn replace(dir: &Path, text: &str) -> io::Result<()> {
    let mut fresh = tempfile::NamedTempFile::new_in(dir)?;
    fresh.write_all(text.as_bytes())?;
    fresh.persist(file(dir)).map(drop).map_err(io::Error::from)
}

fn set_read(path: &Path, at: SystemTime) -> io::Result<()> {
    let omitted = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    let times = Timestamps { last_access: timespec(at), last_modification: omitted };
    Ok(utimensat(CWD, path, &times, AtFlags::empty())?)
}

fn timespec(at: SystemTime) -> Timespec {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    Timespec { tv_sec: since.as_secs().try_into().unwrap_or(i64::MAX), tv_nsec: since.subsec_nanos().into() }
}
