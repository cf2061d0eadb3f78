//! The scrub: finished content is read again and compared with its digest, slowly, oldest verification first.
//!
//! The time of the last verification is the file's time of change, so it outlasts a restart. What the system still has in
//! memory is compared there: a disk that rots under it is seen when the memory was given to something else.

use std::{
    collections::VecDeque,
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt as _,
    sync::{Arc, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use super::{BlobStore, mark};
use crate::oci::{Digest, Verifier};

/// What is read at once.
const CHUNK: usize = 256 * 1024;

/// What is to be verified.
#[derive(Debug, Default)]
pub(super) struct Scrub {
    /// at once
    suspects: VecDeque<Digest>,
    /// when there is time
    due: VecDeque<Digest>,
    under_way: Option<Verifying>,
    /// whether what a crash put in doubt was all seen
    is_settled: bool,
}

#[derive(Debug)]
struct Verifying {
    digest: Digest,
    file: Arc<File>,
    /// how it was when its first byte was read
    changed_at: Option<SystemTime>,
    at: u64,
    verifier: Verifier,
}

/// What a look at all content found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// How many were read.
    pub objects: u64,
    /// How many bytes.
    pub bytes: u64,
    /// What was not what its name says; it is in quarantine.
    pub damaged: Vec<Digest>,
}

impl Verifying {
    fn start(store: &BlobStore, digest: &Digest) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true);
        // reading it here is no reason to keep it
        #[cfg(target_os = "linux")]
        std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, rustix::fs::OFlags::NOATIME.bits().cast_signed());
        let path = store.path(digest);
        // the flag is refused on files of other users
        let file = options.open(&path).or_else(|_| File::open(&path))?;
        Ok(Self::of(digest, &Arc::new(file)))
    }

    /// Verifies a file that is open; its position is left alone.
    fn of(digest: &Digest, file: &Arc<File>) -> Self {
        let changed_at = changed_at(file);
        Self { digest: digest.clone(), file: Arc::clone(file), changed_at, at: 0, verifier: Verifier::new() }
    }

    /// Reads up to `budget` bytes more; how many, and whether the end is reached.
    fn step(&mut self, budget: u64) -> io::Result<(u64, bool)> {
        let mut chunk = vec![0; CHUNK];
        let mut read = 0;
        while read < budget {
            let room = usize::try_from(budget - read).unwrap_or(CHUNK).min(CHUNK);
            match self.file.read_at(&mut chunk[..room], self.at)? {
                0 => return Ok((read, true)),
                length => {
                    self.verifier.update(&chunk[..length]);
                    self.at += length as u64;
                    read += length as u64;
                }
            }
        }
        Ok((read, false))
    }
}

impl BlobStore {
    /// Has content verified at once: somebody has reason to doubt it.
    pub fn suspect(&self, digest: &Digest) {
        let mut scrub = self.scrub_state();
        if !scrub.suspects.contains(digest) {
            scrub.suspects.push_back(digest.clone());
        }
        self.inner().doubt.notify_one();
    }

    /// Waits until somebody doubts content.
    pub async fn doubted(&self) {
        self.inner().doubt.notified().await;
    }

    /// Goes on with the scrub: what is in doubt, then what was not verified for `every` (zero: nothing), reading about
    /// `budget` bytes. True if there is more to do.
    #[must_use]
    pub fn scrub(&self, every: Duration, budget: u64) -> bool {
        while let Some(digest) = { self.scrub_state().suspects.front().cloned() } {
            // what cannot be read is told of there
            let _ = self.verify_now(&digest);
            // now only: whoever doubts it meanwhile is answered by this
            self.scrub_state().suspects.pop_front();
        }
        let mut left = budget;
        while left > 0 {
            let Some(mut verifying) = self.next_due(every) else { return false };
            match verifying.step(left) {
                Ok((read, is_over)) => {
                    left = left.saturating_sub(read);
                    if is_over {
                        self.judge(verifying);
                    } else {
                        self.scrub_state().under_way = Some(verifying);
                    }
                }
                Err(error) => self.unreadable(&verifying.digest, Some(&verifying.file), &error),
            }
            // an object of no bytes is work, too
            left = left.saturating_sub(1);
        }
        true
    }

    /// Reads all finished content and compares it with its digest. `progress` is told bytes done, and bytes in all.
    pub fn verify(&self, progress: &dyn Fn(u64, u64)) -> io::Result<Verified> {
        let all: Vec<(Digest, u64)> = self.table().iter().map(|(digest, held)| (digest.clone(), held.size)).collect();
        let total = all.iter().map(|(_, size)| size).sum();
        let mut verified = Verified::default();
        for (digest, size) in all {
            progress(verified.bytes, total);
            // one that was swept meanwhile is neither right nor wrong
            if self.table().contains(&digest) && !self.verify_now(&digest)? {
                verified.damaged.push(digest);
            }
            verified.objects += 1;
            verified.bytes += size;
        }
        progress(verified.bytes, total);
        Ok(verified)
    }

    /// Whether content is what its name says; if not, it is in quarantine when this returns.
    fn verify_now(&self, digest: &Digest) -> io::Result<bool> {
        match Verifying::start(self, digest) {
            Ok(verifying) => Ok(self.verify_whole(verifying)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.discard(digest, "its file is gone");
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// The same for the file that a reader opened: meanwhile another one may have taken its place.
    pub(super) fn verify_file(&self, digest: &Digest, file: &Arc<File>) -> bool {
        self.verify_whole(Verifying::of(digest, file))
    }

    fn verify_whole(&self, mut verifying: Verifying) -> bool {
        match verifying.step(u64::MAX) {
            Ok(_) => self.judge(verifying),
            Err(error) => {
                self.unreadable(&verifying.digest, Some(&verifying.file), &error);
                false
            }
        }
    }

    /// Whether content that a crash put in doubt was not seen yet.
    pub(super) fn has_doubts(&self) -> bool {
        self.table().iter().any(|(_, held)| held.is_from_a_crash())
    }

    /// Whether what was read to the end is right; if not, it is in quarantine when this returns.
    fn judge(&self, Verifying { digest, file, changed_at: before, verifier, .. }: Verifying) -> bool {
        if verifier.finish() != digest {
            self.quarantine(&digest, Some(&file));
            return false;
        }
        // what was changed since it was read stays in doubt
        if changed_at(&file) == before {
            let now = SystemTime::now();
            // the time as the file system keeps it; one that refuses it has it verified again after the next start
            let _ = file.set_modified(now);
            self.table().verified(&digest, now, changed_at(&file).unwrap_or(now));
        }
        true
    }

    /// A disk that does not give bytes back has lost them.
    fn unreadable(&self, digest: &Digest, file: Option<&File>, error: &io::Error) {
        tracing::warn!(%digest, %error, "cached content cannot be read");
        self.quarantine(digest, file);
    }

    /// What is under way, or due next.
    fn next_due(&self, every: Duration) -> Option<Verifying> {
        loop {
            let mut scrub = self.scrub_state();
            if let Some(verifying) = scrub.under_way.take() {
                return Some(verifying);
            }
            if scrub.due.is_empty() {
                scrub.due = self.due(every);
            }
            let Some(digest) = scrub.due.pop_front() else {
                if !std::mem::replace(&mut scrub.is_settled, true) {
                    mark::settled(&self.inner().dir);
                }
                return None;
            };
            drop(scrub);
            match Verifying::start(self, &digest) {
                Ok(verifying) => return Some(verifying),
                Err(error) if error.kind() == io::ErrorKind::NotFound => self.discard(&digest, "its file is gone"),
                // the disk itself says so
                Err(error) if error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) => {
                    self.unreadable(&digest, None, &error);
                }
                // says nothing of the content: often the process has too many files open. It is due again when the list is made
                // anew; at the front, one that can never be opened would keep all others waiting
                Err(error) => {
                    tracing::warn!(%digest, %error, "cached content cannot be opened to be verified");
                    return None;
                }
            }
        }
    }

    fn due(&self, every: Duration) -> VecDeque<Digest> {
        let now = SystemTime::now();
        let is_due = |at: SystemTime| !every.is_zero() && now.duration_since(at).is_ok_and(|age| age >= every);
        let table = self.table();
        let due = table.iter().filter(|(_, held)| held.is_from_a_crash() || is_due(held.verified_at));
        let mut due: Vec<(SystemTime, Digest)> = due.map(|(digest, held)| (held.verified_at, digest.clone())).collect();
        due.sort_unstable();
        due.into_iter().map(|(_, digest)| digest).collect()
    }

    fn scrub_state(&self) -> MutexGuard<'_, Scrub> {
        self.inner().scrub.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn changed_at(file: &File) -> Option<SystemTime> {
    file.metadata().and_then(|metadata| metadata.modified()).ok()
}
