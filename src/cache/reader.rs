//! [`FillReader`]: one client's way through a blob that is being fetched.
//!
//! Hands out pieces of the staging file as they come. When the disk takes no more, it fetches the rest for itself and hands it
//! out of memory, one piece at a time; nothing of that is kept.

use std::{fs::File, ops::Range, os::unix::fs::FileExt as _, sync::Arc};

use bytes::Bytes;
use tokio::sync::watch;

use super::{
    Error, blocking,
    fill::{Fill, Progress},
};
use crate::{
    oci::{Digest, Repository, Verifier},
    store::CommitError,
    upstream::{self, BlobBody, BlobQuestion, Upstream},
};

/// The most that is handed out at once: a client that leaves has cost no more than this.
const PIECE: u64 = 1024 * 1024;
/// What is read at once of what is there already, to compute its digest.
const CHUNK: usize = 256 * 1024;
/// Attempts in a row that bring no byte before a client is told.
const FRUITLESS_ATTEMPTS: u32 = 3;

/// The next bytes of a blob.
#[derive(Debug)]
pub enum Piece {
    /// They lie in a file.
    File {
        /// Which one.
        file: Arc<File>,
        /// Where in it.
        range: Range<u64>,
    },
    /// They were never written to the disk.
    Memory(Bytes),
}

/// Reads a blob while it is fetched. Dropping it ends nothing, but a download that nobody follows may be put to rest.
#[derive(Debug)]
pub struct FillReader {
    fill: Arc<Fill>,
    upstream: Arc<Upstream>,
    progress: watch::Receiver<Progress>,
    /// whether it reads from the first byte on
    from_start: bool,
    at: u64,
    end: u64,
    started: bool,
    alone: Option<Box<Alone>>,
}

/// The rest of a blob that the disk has no room for.
#[derive(Debug)]
struct Alone {
    body: Option<BlobBody>,
    /// of a reader that began at the start: its last bytes are held back until the digest agreed
    verifier: Option<Verifier>,
    held: Bytes,
    /// up to where bytes came
    at: u64,
    total: Option<u64>,
    fruitless: u32,
    fetched: u64,
}

impl FillReader {
    /// Reads a download that is followed already.
    pub(super) fn new(fill: Arc<Fill>, upstream: Arc<Upstream>, started: bool) -> Self {
        let progress = fill.progress();
        Self { fill, upstream, progress, from_start: true, at: 0, end: u64::MAX, started, alone: None }
    }

    /// The size of the blob when upstream tells it, or why there is no blob.
    pub(super) async fn size(&mut self) -> Result<Option<u64>, Error> {
        match self.fill.size().await {
            Err(Error::Store(cause)) => {
                tracing::warn!(digest = %self.fill.digest, %cause, "the disk takes nothing; a blob is passed through");
                self.go_alone().await?;
                self.open().await?;
                Ok(self.alone.as_ref().and_then(|alone| alone.total))
            }
            size => size,
        }
    }

    /// Whether this reader's request started the download.
    pub(super) fn started(&self) -> bool {
        self.started
    }

    /// Whether all bytes are there and right.
    pub(super) fn is_verified(&self) -> bool {
        self.progress.borrow().is_verified()
    }

    /// The repository the blob is fetched from.
    pub(super) fn repository(&self) -> &Repository {
        &self.fill.repository
    }

    /// Reads from `start` to `end` only.
    pub fn narrow(&mut self, start: u64, end: u64) {
        (self.at, self.end, self.from_start) = (start, end, start == 0);
        if start > 0 {
            // of a part there is no digest, and what was opened begins at the start
            self.alone.iter_mut().for_each(|alone| (alone.at, alone.body, alone.verifier) = (start, None, None));
        }
    }

    /// The bytes that came from upstream so far for the request of this reader: none if another one started the download.
    #[must_use]
    pub fn upstream_bytes(&self) -> u64 {
        let shared = if self.started { self.progress.borrow().fetched() } else { 0 };
        shared + self.alone.as_ref().map_or(0, |alone| alone.fetched)
    }

    /// The next bytes, as soon as they are there; `None` at the end of a blob whose digest agreed.
    pub async fn next(&mut self) -> Option<Result<Piece, Error>> {
        if self.at >= self.end {
            return None;
        }
        if self.alone.is_some() {
            return self.next_alone().await;
        }
        let at = self.at;
        let is_over = |progress: &Progress| progress.readable_from(at) > at || progress.outcome.is_some();
        let ready = is_over(&self.progress.borrow_and_update());
        // only who really waits is worth a connection of its own
        let waiting = (!ready).then(|| self.fill.wait_at(at));
        let (readable, outcome) = match self.progress.wait_for(is_over).await {
            Ok(progress) => (progress.readable_from(at), progress.outcome.clone()),
            Err(_) => (at, Some(Err(Error::GivenUp))),
        };
        drop(waiting);
        let to = readable.min(self.end).min(at + PIECE);
        if let Some(file) = self.fill.file().filter(|_| to > at) {
            self.at = to;
            return Some(Ok(Piece::File { file: Arc::clone(file), range: at..to }));
        }
        match outcome {
            Some(Err(Error::Store(cause))) => {
                tracing::warn!(digest = %self.fill.digest, %cause, "the disk takes no more; a blob is passed through");
                if let Err(error) = self.go_alone().await {
                    return Some(Err(error));
                }
                self.next_alone().await
            }
            Some(Err(error)) => Some(Err(error)),
            _ => None,
        }
    }

    /// Takes the rest upon itself. What was handed out so far is in the file still, for the digest.
    async fn go_alone(&mut self) -> Result<(), Error> {
        let at = self.at;
        let verifier = match self.fill.file().cloned().filter(|_| self.from_start) {
            Some(file) => Some(blocking(move || digest_of(&file, at)).await.map_err(Error::store)?),
            None => self.from_start.then(Verifier::new),
        };
        let alone = Alone { body: None, verifier, held: Bytes::new(), at, total: None, fruitless: 0, fetched: 0 };
        self.alone = Some(Box::new(alone));
        Ok(())
    }

    /// Opens a connection of its own, if there is none.
    async fn open(&mut self) -> Result<(), Error> {
        let Some(alone) = self.alone.as_mut().filter(|alone| alone.body.is_none()) else { return Ok(()) };
        let Fill { repository, digest, client, .. } = &*self.fill;
        let question = BlobQuestion { repository, digest, client };
        let wanted = alone.at..self.end;
        let wanted = (wanted.start > 0 || wanted.end < u64::MAX).then_some(&wanted);
        let body = self.upstream.blob(question, wanted, None).await.map_err(Arc::new)?;
        if alone.total.is_some() && body.total.is_some() && alone.total != body.total {
            return Err(Arc::new(upstream::Error::changed(&repository.registry, alone.total, body.total)).into());
        }
        alone.total = alone.total.or(body.total);
        alone.body = Some(body);
        Ok(())
    }

    async fn next_alone(&mut self) -> Option<Result<Piece, Error>> {
        loop {
            if let Err(error) = self.open().await {
                return Some(Err(error));
            }
            let registry = &self.fill.repository.registry;
            let alone = self.alone.as_mut()?;
            let end = self.end.min(alone.total.unwrap_or(u64::MAX));
            let came = match &mut alone.body {
                Some(_) if alone.at >= end => None,
                Some(body) => body.next(&self.upstream, registry).await,
                None => None,
            };
            match came {
                Some(Ok(bytes)) => {
                    let Some(bytes) = alone.take(bytes, end) else { continue };
                    self.at += bytes.len() as u64;
                    return Some(Ok(Piece::Memory(bytes)));
                }
                None if alone.total.is_none() || alone.at >= end => {
                    let last = alone.last(&self.fill.digest)?;
                    (self.at, self.end) = (u64::MAX, u64::MAX);
                    return Some(last.map(Piece::Memory));
                }
                broken => {
                    alone.fruitless += 1;
                    alone.body = None;
                    if alone.fruitless > FRUITLESS_ATTEMPTS {
                        let error = match broken {
                            Some(Err(error)) => error,
                            _ => upstream::Error::short(registry, alone.at, end),
                        };
                        return Some(Err(Arc::new(error).into()));
                    }
                }
            }
        }
    }
}

impl Alone {
    /// Takes bytes that came, and gives those that came before them: the last are held back.
    fn take(&mut self, mut bytes: Bytes, end: u64) -> Option<Bytes> {
        self.fetched += bytes.len() as u64;
        self.fruitless = 0;
        let body = self.body.as_mut()?;
        // a server that ignored the range sends again what is there
        let known = usize::try_from(self.at.saturating_sub(body.start)).unwrap_or(usize::MAX).min(bytes.len());
        body.start += bytes.len() as u64;
        let mut bytes = bytes.split_off(known);
        bytes.truncate(usize::try_from(end - self.at).unwrap_or(usize::MAX));
        self.at += bytes.len() as u64;
        self.verifier.iter_mut().for_each(|verifier| verifier.update(&bytes));
        let before = std::mem::replace(&mut self.held, bytes);
        (!before.is_empty()).then_some(before)
    }

    /// The last bytes, if the digest agrees; nothing when there are none.
    fn last(&mut self, want: &Digest) -> Option<Result<Bytes, Error>> {
        // of a part there is no digest
        let is_whole = self.total.is_none_or(|total| self.at >= total);
        let got = self.verifier.take().filter(|_| is_whole).map(Verifier::finish);
        if let Some(got) = got.filter(|got| got != want) {
            tracing::warn!(event = "digest_mismatch", %want, %got, "upstream sent wrong bytes");
            return Some(Err(Error::Commit(Arc::new(CommitError::Corrupt { want: want.clone(), got }))));
        }
        let last = std::mem::take(&mut self.held);
        (!last.is_empty()).then_some(Ok(last))
    }
}

impl Drop for FillReader {
    fn drop(&mut self) {
        self.fill.leave();
    }
}

fn digest_of(file: &File, end: u64) -> std::io::Result<Verifier> {
    let (mut verifier, mut at, mut chunk) = (Verifier::new(), 0, vec![0; CHUNK]);
    while at < end {
        let want = usize::try_from(end - at).unwrap_or(usize::MAX).min(CHUNK);
        file.read_exact_at(&mut chunk[..want], at)?;
        verifier.update(&chunk[..want]);
        at += want as u64;
    }
    Ok(verifier)
}
