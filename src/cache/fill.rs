//! [`Fill`]: one download of a blob, and any number of readers at any offset.
//!
//! A fill is a set of extents over a staging file. Its readers wait for bytes, never for the writer: how fast one reads
//! slows neither the download nor the others. The last bytes are held back until the digest agreed, so no reader
//! receives a whole wrong blob; one that asks for a range before those last bytes gets it unverified, as from any registry.

use std::{
    fs::File,
    ops::Range,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use tokio::sync::watch;

use super::{Error, extents::Extents};
use crate::oci::Repository;

/// What a reader gets at once at most.
const PIECE: u64 = 1024 * 1024;
/// What is held back until the digest agreed.
const HOLD_BACK: u64 = 64 * 1024;

/// One download of a blob.
#[derive(Debug)]
pub(super) struct Fill {
    /// The repository it is fetched from.
    pub(super) repository: Repository,
    /// The staging file, before the first extent is published.
    file: OnceLock<Arc<File>>,
    progress: watch::Sender<Progress>,
}

/// What a reader gets at once.
#[derive(Clone, Debug)]
pub enum Piece {
    /// Bytes of a file that are there, a megabyte at most.
    File {
        /// The file; it only grows.
        file: Arc<File>,
        /// Where in it they are.
        range: Range<u64>,
    },
    /// Bytes that no file has.
    Memory(Bytes),
}

/// How far a download is.
#[derive(Clone, Debug, Default)]
struct Progress {
    extents: Extents,
    /// The size, as soon as upstream told it, or at the end.
    size: Option<u64>,
    /// Whether `size` is final: told by upstream, or known never to be told before the end.
    is_sized: bool,
    /// Bytes that came from upstream, those that came twice included.
    fetched: u64,
    outcome: Option<Result<(), Error>>,
}

impl Progress {
    /// Whether readers can know what comes: the size, if there is one, is told, and not all of it is held back.
    fn is_flowing(&self) -> bool {
        self.is_sized && self.size.is_none_or(|size| size > HOLD_BACK)
    }

    /// Where the bytes end that a reader at `at` may have now.
    fn readable_from(&self, at: u64) -> u64 {
        let end = self.extents.end_from(at);
        if matches!(self.outcome, Some(Ok(()))) {
            return end;
        }
        let released = self.size.unwrap_or(end).saturating_sub(HOLD_BACK);
        end.min(released).max(at)
    }
}

impl Fill {
    pub(super) fn new(repository: Repository) -> Self {
        Self { repository, file: OnceLock::new(), progress: watch::Sender::new(Progress::default()) }
    }

    /// Whether it can still be joined.
    pub(super) fn is_running(&self) -> bool {
        self.progress.borrow().outcome.is_none()
    }

    /// Whether its bytes have begun to come, as far as readers are concerned.
    pub(super) fn is_flowing(&self) -> bool {
        self.progress.borrow().is_flowing()
    }

    /// Where the bytes are found once extents are published.
    pub(super) fn publish_file(&self, file: Arc<File>) {
        // one download writes one file: a second call brings the same
        let _ = self.file.set(file);
    }

    /// Upstream's answer has begun; `None` is an answer without a size.
    pub(super) fn publish_size(&self, size: Option<u64>) {
        self.progress.send_modify(|progress| {
            progress.size = progress.size.or(size);
            progress.is_sized = true;
        });
    }

    /// The bytes from `start` to `end` can be read.
    pub(super) fn publish(&self, start: u64, end: u64) {
        self.progress.send_modify(|progress| progress.extents.insert(start..end));
    }

    /// So many bytes came from upstream.
    pub(super) fn count(&self, bytes: u64) {
        self.progress.send_if_modified(|progress| {
            progress.fetched += bytes;
            false
        });
    }

    /// It is over: the bytes are verified, or will never be.
    pub(super) fn finish(&self, outcome: Result<(), Error>) {
        self.progress.send_modify(|progress| {
            if progress.outcome.is_none() {
                progress.size = progress.size.or_else(|| Some(progress.extents.end_from(0)));
                progress.outcome = Some(outcome);
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
}

/// Reads a blob while it is fetched. Dropping it ends nothing.
#[derive(Debug)]
pub struct FillReader {
    fill: Arc<Fill>,
    progress: watch::Receiver<Progress>,
    at: u64,
    end: u64,
    started: bool,
}

impl FillReader {
    pub(super) fn new(fill: Arc<Fill>, started: bool) -> Self {
        let progress = fill.progress.subscribe();
        Self { fill, progress, at: 0, end: u64::MAX, started }
    }

    /// Reads from `start` to `end` only.
    pub fn narrow(&mut self, start: u64, end: u64) {
        self.at = start;
        self.end = end;
    }

    /// The bytes that came from upstream so far for the request of this reader: none if another one started it.
    #[must_use]
    pub fn upstream_bytes(&self) -> u64 {
        if self.started { self.progress.borrow().fetched } else { 0 }
    }

    /// The next piece, as soon as its bytes are there; `None` at the end of a blob whose digest agreed.
    pub async fn next(&mut self) -> Option<Result<Piece, Error>> {
        if self.at >= self.end {
            return None;
        }
        let at = self.at;
        let progress = self.progress.wait_for(|progress| progress.readable_from(at) > at || progress.outcome.is_some());
        let (readable, outcome) = match progress.await {
            Ok(progress) => (progress.readable_from(at), progress.outcome.clone()),
            Err(_) => (at, Some(Err(Error::GivenUp))),
        };
        let to = readable.min(self.end).min(at + PIECE);
        if to > at {
            self.at = to;
            return Some(Ok(self.piece(at..to)));
        }
        match outcome {
            Some(Err(error)) => Some(Err(error)),
            _ => None,
        }
    }

    fn piece(&self, range: Range<u64>) -> Piece {
        let file = self.fill.file.get().expect("the file is published before the first extent");
        Piece::File { file: Arc::clone(file), range }
    }
}
