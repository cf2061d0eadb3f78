//! [`Fill`]: one download of a blob, as its readers see it: which bytes are there, and what becomes of it.
//!
//! A fill is a set of extents over a staging file. Its readers wait for bytes, never for who fetches them: how fast one reads
//! slows neither the download nor the others. The last bytes are held back until the digest agreed, so no reader
//! receives a whole wrong blob; one that asks for a range before those last bytes gets it unverified, as from any registry.

use std::{
    fs::File,
    ops::Range,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::sync::{Notify, watch};

use super::{Error, extents::Extents};
use crate::oci::{Digest, Repository};

/// What is held back until the digest agreed.
const HOLD_BACK: u64 = 64 * 1024;

/// One download of a blob.
#[derive(Debug)]
pub(super) struct Fill {
    /// The repository it is fetched from.
    pub(super) repository: Repository,
    pub(super) digest: Digest,
    /// Who asked first, for the registry's own log.
    pub(super) client: String,
    /// The staging file, before the first extent is published.
    file: OnceLock<Arc<File>>,
    progress: watch::Sender<Progress>,
    followers: watch::Sender<Followers>,
    /// Woken when a reader waits for bytes.
    pub(super) waits: Notify,
    was_asked: AtomicBool,
    waiting: Mutex<Vec<u64>>,
}

/// Who follows a download.
#[derive(Clone, Copy, Debug, Default)]
struct Followers {
    now: usize,
    /// whether nobody can follow it any more
    is_closed: bool,
}

/// How far a download is.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress {
    extents: Extents,
    /// The size, as soon as upstream told it, or at the end.
    size: Option<u64>,
    /// Whether `size` is final: told by upstream, or known never to be told before the end.
    is_sized: bool,
    /// Bytes that came from upstream, those that came twice included.
    fetched: u64,
    /// Whether the digest agreed.
    is_verified: bool,
    pub(super) outcome: Option<Result<(), Error>>,
}

impl Progress {
    /// Whether readers can know what comes: the size, if there is one, is told, and not all of it is held back.
    fn is_flowing(&self) -> bool {
        self.is_verified || (self.is_sized && self.size.is_none_or(|size| size > HOLD_BACK))
    }

    /// Where the bytes end that a reader at `at` may have now.
    pub(super) fn readable_from(&self, at: u64) -> u64 {
        let end = self.extents.end_from(at);
        if self.is_verified {
            return end;
        }
        // of an unknown size, the end may be any moment
        let whole = self.size.unwrap_or_else(|| self.extents.end_from(0));
        end.min(whole.saturating_sub(HOLD_BACK)).max(at)
    }

    pub(super) fn fetched(&self) -> u64 {
        self.fetched
    }

    /// Up to where all bytes are there.
    pub(super) fn front(&self) -> u64 {
        self.extents.end_from(0)
    }

    /// Whether all bytes are there and right.
    pub(super) fn is_verified(&self) -> bool {
        self.is_verified
    }
}

impl Fill {
    pub(super) fn new(repository: Repository, digest: Digest, client: String) -> Self {
        Self {
            repository,
            digest,
            client,
            file: OnceLock::new(),
            progress: watch::Sender::default(),
            followers: watch::Sender::default(),
            waits: Notify::new(),
            was_asked: AtomicBool::new(false),
            waiting: Mutex::default(),
        }
    }

    /// Whether it is under way.
    pub(super) fn is_running(&self) -> bool {
        self.progress.borrow().outcome.is_none()
    }

    /// Whether it is under way to its end, so that nobody can follow it any more.
    pub(super) fn is_closed(&self) -> bool {
        self.followers.borrow().is_closed
    }

    /// Whether its bytes have begun to come, as far as readers are concerned.
    pub(super) fn is_flowing(&self) -> bool {
        self.progress.borrow().is_flowing()
    }

    pub(super) fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// The staging file, once there is one.
    pub(super) fn file(&self) -> Option<&Arc<File>> {
        self.file.get()
    }

    /// Where the bytes are found once extents are published.
    pub(super) fn publish_file(&self, file: Arc<File>) {
        // one download writes one file: a second call brings the same
        let _ = self.file.set(file);
    }

    /// Upstream's answer has begun; `None` is an answer without a size.
    pub(super) fn publish_size(&self, size: Option<u64>) {
        self.progress.send_if_modified(|progress| {
            let is_new = !progress.is_sized || (progress.size.is_none() && size.is_some());
            progress.size = progress.size.or(size);
            progress.is_sized = true;
            is_new
        });
    }

    /// These bytes can be read; up to where all are there.
    pub(super) fn publish(&self, extent: Range<u64>) -> u64 {
        let mut front = 0;
        self.progress.send_if_modified(|progress| {
            let is_new = !extent.is_empty();
            progress.extents.insert(extent);
            front = progress.front();
            is_new
        });
        front
    }

    /// So many bytes came from upstream.
    pub(super) fn count(&self, bytes: u64) {
        self.progress.send_if_modified(|progress| {
            progress.fetched += bytes;
            false
        });
    }

    /// Bytes that came from upstream so far.
    pub(super) fn fetched(&self) -> u64 {
        self.progress.borrow().fetched
    }

    /// Whether any byte is there.
    pub(super) fn has_bytes(&self) -> bool {
        self.progress.borrow().extents.count() > 0
    }

    /// Up to where all bytes are there.
    pub(super) fn front(&self) -> u64 {
        self.progress.borrow().front()
    }

    /// How much of it is there, in percent.
    pub(super) fn percent(&self) -> u64 {
        let progress = self.progress.borrow();
        progress.size.map_or(0, |size| (progress.extents.count() * 100).checked_div(size).unwrap_or(100))
    }

    /// All `size` bytes are there and their digest agreed.
    pub(super) fn verified(&self, size: u64) {
        self.progress.send_modify(|progress| {
            (progress.size, progress.is_sized, progress.is_verified) = (Some(size), true, true);
        });
    }

    /// It is over: the bytes are where the store finds them, or will never be.
    pub(super) fn finish(&self, outcome: Result<(), Error>) {
        self.progress.send_modify(|progress| {
            if progress.outcome.is_none() {
                // bytes that agreed can be read from here, wherever else they could not be put
                progress.outcome = Some(if progress.is_verified { Ok(()) } else { outcome });
            }
        });
    }

    /// The size of the blob when upstream tells it, or why there is no blob. Of a blob so small that all of it is held
    /// back, the size is told when its digest agreed: an answer that says "nothing follows" is whole at once.
    pub(super) async fn size(&self) -> Result<Option<u64>, Error> {
        let mut progress = self.progress.subscribe();
        let progress = progress.wait_for(|progress| progress.is_flowing() || progress.outcome.is_some()).await;
        let progress = progress.map_err(|_| Error::GivenUp)?;
        match &progress.outcome {
            Some(Err(error)) => Err(error.clone()),
            _ => Ok(progress.size),
        }
    }

    /// Somebody follows it from now on, if that is still possible.
    pub(super) fn enter(&self) -> bool {
        self.was_asked.store(true, Ordering::Relaxed);
        self.followers.send_if_modified(|followers| {
            followers.now += usize::from(!followers.is_closed);
            !followers.is_closed
        })
    }

    /// Nobody can follow it any more, if nobody does.
    pub(super) fn close(&self) -> bool {
        self.followers.send_if_modified(|followers| {
            followers.is_closed = followers.now == 0;
            followers.is_closed
        })
    }

    /// Somebody follows it no more.
    pub(super) fn leave(&self) {
        self.followers.send_modify(|followers| followers.now = followers.now.saturating_sub(1));
    }

    /// Whether a client asked for it, other than one that is fetched ahead.
    pub(super) fn was_asked(&self) -> bool {
        self.was_asked.load(Ordering::Relaxed)
    }

    /// Waits until a client asks for it.
    pub(super) async fn asked(&self) {
        // the sender lives as long as `self`
        let _ = self.followers.subscribe().wait_for(|_| self.was_asked()).await;
    }

    /// Waits until all who followed it have left.
    pub(super) async fn abandoned(&self) {
        let _ = self.followers.subscribe().wait_for(|followers| self.was_asked() && followers.now == 0).await;
    }

    /// Waits until somebody follows it again.
    pub(super) async fn followed(&self) {
        let _ = self.followers.subscribe().wait_for(|followers| followers.now > 0).await;
    }

    /// A reader waits for the byte at `at`, until what is returned is dropped.
    pub(super) fn wait_at(self: &Arc<Self>, at: u64) -> Waiting {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push(at);
        self.waits.notify_one();
        Waiting { fill: Arc::clone(self), at }
    }

    /// Where readers wait.
    pub(super) fn waiting(&self) -> Vec<u64> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A reader that waits for bytes.
pub(super) struct Waiting {
    fill: Arc<Fill>,
    at: u64,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut waiting = self.fill.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(index) = waiting.iter().position(|at| *at == self.at) {
            waiting.swap_remove(index);
        }
    }
}
