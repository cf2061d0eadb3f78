//! One connection of a download: takes piece after piece of the plan until nothing is left for it.
//!
//! Whatever breaks off (reset, silence, a short body, a signed URL that is over) costs only what had not come of one piece: that
//! is asked for again. Bytes of another version of the blob are refused.

use std::{
    future::ready,
    io,
    ops::Range,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use tokio::{runtime::Handle, time::sleep};
use tracing::debug;

use super::{Error, blocking, download::Download, limits::Permit};
use crate::upstream::{self, BlobBody, BlobQuestion};

/// Attempts in a row that bring no byte before a connection gives up.
const FRUITLESS_ATTEMPTS: u32 = 4;
/// The pause after an attempt that brought bytes; it doubles with each one in a row that brought none.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Clients give up on a body that stands still for longer: a host that is left alone is waited for so long in a row.
const LONGEST_REST: Duration = Duration::from_secs(15);
/// Of bytes that come fast, readers and the journal are told of so many at once: the most that a daemon that is killed forgets
/// of what one connection brought.
const TOGETHER: u64 = 512 * 1024;

/// What brought no byte, since the last one came.
#[derive(Default)]
struct InVain {
    attempts: u32,
    /// spent waiting for a host that is left alone
    rested: Duration,
}

/// Why a piece was not fetched.
enum Broken {
    Upstream(upstream::Error),
    Disk(io::Error),
}

impl Broken {
    /// Whether nobody was asked: that is no attempt.
    fn is_rest(&self) -> bool {
        matches!(self, Self::Upstream(error) if error.is_rest())
    }
}

impl From<upstream::Error> for Broken {
    fn from(error: upstream::Error) -> Self {
        Self::Upstream(error)
    }
}

/// Fetches until the plan has nothing left for this connection.
pub(super) async fn run(download: Arc<Download>) -> Result<(), Error> {
    let is_first = download.plan().enter();
    let outcome = fetch(&download, is_first).await;
    download.plan().leave();
    outcome
}

async fn fetch(download: &Arc<Download>, is_first: bool) -> Result<(), Error> {
    let (fill, limits) = (&download.fill, &download.shared.limits);
    let mut in_vain = InVain::default();
    loop {
        let registry = &fill.repository.registry;
        let permit = if is_first { limits.one(registry).await } else { limits.one_more(registry) };
        let waiting = fill.waiting();
        let Some((permit, mut piece)) = permit.and_then(|permit| Some((permit, download.plan().claim(&waiting)?)))
        else {
            return Ok(());
        };
        let before = piece.start;
        let mut permit = Some(permit);
        let outcome = fetch_piece(download, &mut piece, &mut permit).await;
        if piece.start < piece.end {
            download.plan().give_back(&piece);
        }
        if piece.start > before {
            in_vain = InVain::default();
        } else if outcome.as_ref().is_err_and(|broken| !broken.is_rest()) {
            in_vain.attempts += 1;
        }
        match outcome {
            Ok(()) => {}
            Err(Broken::Disk(error)) => return Err(Error::store(error)),
            Err(Broken::Upstream(error)) => match in_vain.pause(&error, fill.has_bytes()) {
                None => return Err(Arc::new(error).into()),
                Some(pause) => {
                    debug!(digest = %fill.digest, at = piece.start, %error, "a download broke off and is taken up again");
                    sleep(pause).await;
                }
            },
        }
    }
}

impl InVain {
    /// How long to wait before the next attempt; `None` when there is none. A download that has begun waits for a host that
    /// is left alone for a moment: somebody reads what came.
    fn pause(&mut self, error: &upstream::Error, has_begun: bool) -> Option<Duration> {
        let rest = error.retry_after(SystemTime::now()).filter(|rest| has_begun && *rest <= LONGEST_REST);
        if error.is_rest() {
            self.rested += rest?;
            return rest.filter(|_| self.rested <= LONGEST_REST);
        }
        let pause = rest.or_else(|| error.may_pass().then(|| FIRST_PAUSE * 2_u32.pow(self.attempts)));
        pause.filter(|_| self.attempts < FRUITLESS_ATTEMPTS)
    }
}

/// Fetches one piece; `piece` is what is left of it afterwards.
async fn fetch_piece(
    download: &Arc<Download>,
    piece: &mut Range<u64>,
    permit: &mut Option<Permit>,
) -> Result<(), Broken> {
    let fill = &download.fill;
    let question = BlobQuestion { repository: &fill.repository, digest: &fill.digest, client: &fill.client };
    let known = download.source().storage.clone();
    let size = download.plan().size();
    // the whole is asked for without naming it: some servers know no ranges
    let is_whole = piece.start == 0 && piece.end >= size.unwrap_or(u64::MAX);
    let wanted = (!is_whole).then(|| piece.clone());
    let mut body = download.shared.upstream.blob(question, wanted.as_ref(), known.as_ref()).await?;
    agree(download, &body)?;
    let is_part = learn(download, &body, piece, wanted.is_some()).await?;
    let mut lent = permit.take();
    let (mut received, runtime) = (Received::new(Arc::clone(download), piece.clone()), Handle::current());
    // writing waits for the disk and hashing takes its time: both have a thread to themselves, and nothing is handed over
    let receive = download.work.spawn_blocking(move || {
        let outcome = runtime.block_on(received.take(&mut body, &mut lent));
        (received.settle(), outcome, lent)
    });
    let (written, outcome, lent) = receive.await.map_err(io::Error::other).map_err(Broken::Disk)?;
    *permit = lent;
    piece.start = written.map_err(Broken::Disk)?;
    outcome?;
    let is_open = download.plan().size().is_none();
    if is_open && !is_part {
        // the end of a body without a length is the end of the blob
        let size = piece.start;
        download.plan().set_size(size);
        piece.end = size;
    }
    if piece.start < piece.end {
        return Err(upstream::Error::short(&fill.repository.registry, piece.start, piece.end).into());
    }
    Ok(())
}

/// Refuses what is of another version than what came before.
fn agree(download: &Download, body: &BlobBody) -> Result<(), upstream::Error> {
    let registry = &download.fill.repository.registry;
    let mut source = download.source();
    match (&source.etag, &body.etag) {
        (Some(before), Some(now)) if before != now => {
            // the next attempt asks the registry where the bytes are now
            source.storage = None;
            return Err(upstream::Error::other_version(registry, &body.host));
        }
        (None, Some(_)) => source.etag.clone_from(&body.etag),
        _ => {}
    }
    source.storage.clone_from(&body.storage);
    Ok(())
}

/// Takes in what the answer says of the whole; whether a part came, as was asked.
async fn learn(
    download: &Arc<Download>,
    body: &BlobBody,
    piece: &mut Range<u64>,
    is_range: bool,
) -> Result<bool, Broken> {
    if let Some(total) = body.total {
        download.learn_size(total)?;
        piece.end = piece.end.min(total);
        let is_new = !std::mem::replace(&mut download.source().is_sized, true);
        if is_new {
            let writer = Arc::clone(&download.writer);
            blocking(move || writer.note_size(total)).await.map_err(Broken::Disk)?;
        }
    }
    if body.is_part {
        if body.total.is_none() {
            let registry = &download.fill.repository.registry;
            return Err(upstream::Error::unsized_part(registry).into());
        }
        download.fill.publish_size(body.total);
        return Ok(true);
    }
    if is_range {
        download.source().ignores_ranges = true;
    }
    download.plan().extend(piece);
    download.fill.publish_size(body.total);
    Ok(false)
}

/// What came of a piece: it is written as it comes, by a thread that may wait for the disk.
struct Received {
    download: Arc<Download>,
    /// what is missing
    piece: Range<u64>,
    /// the end of what readers know of
    published: u64,
    /// the end of what the journal knows of
    noted: u64,
}

impl Received {
    fn new(download: Arc<Download>, piece: Range<u64>) -> Self {
        Self { download, published: piece.start, noted: piece.start, piece }
    }

    /// Takes in what belongs to the piece, until its end, that of the body, or that of the download.
    async fn take(&mut self, body: &mut BlobBody, permit: &mut Option<Permit>) -> Result<(), Broken> {
        let download = Arc::clone(&self.download);
        let (fill, shared) = (&download.fill, &download.shared);
        let mut at = body.start;
        while self.piece.start < self.piece.end {
            let next = async {
                // without one when what follows was dropped half way
                if permit.is_none() || shared.has_to_yield(fill) {
                    // the connection rests: what it rests for may need the right to one
                    drop(permit.take());
                    shared.yield_to_asked(fill).await;
                    *permit = shared.limits.one(&fill.repository.registry).await;
                }
                body.next(&shared.upstream, &fill.repository.registry).await
            };
            let bytes = tokio::select! {
                biased;
                () = download.halt.cancelled() => break,
                bytes = next => bytes,
                // nothing more is there yet
                () = ready(()), if self.published < self.piece.start => {
                    self.publish();
                    continue;
                }
            };
            let Some(bytes) = bytes else { break };
            let mut bytes = bytes?;
            fill.count(bytes.len() as u64);
            // a server that ignored the range sends again what is there
            let known = usize::try_from(self.piece.start - at).unwrap_or(usize::MAX).min(bytes.len());
            at += bytes.len() as u64;
            let mut fresh = bytes.split_off(known);
            fresh.truncate(usize::try_from(self.piece.end - self.piece.start).unwrap_or(usize::MAX));
            if !fresh.is_empty() {
                self.write(&fresh).map_err(Broken::Disk)?;
            }
        }
        Ok(())
    }

    fn write(&mut self, bytes: &Bytes) -> io::Result<()> {
        let Download { fill, shared, writer, .. } = &*self.download;
        let (at, count) = (self.piece.start, bytes.len() as u64);
        let mut written = writer.put(at, bytes);
        if written.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::StorageFull) {
            // once more, when there was something that could go
            let freed = shared.store.make_room(count)?;
            if freed > 0 {
                written = writer.put(at, bytes);
            }
        }
        written?;
        // while it is still warm
        writer.hash_next(at, bytes, fill.front() >= self.published)?;
        self.piece.start += count;
        if self.piece.start - self.noted >= TOGETHER {
            self.settle()?;
        }
        Ok(())
    }

    /// Readers may have what is there.
    fn publish(&mut self) {
        let fresh = self.published..self.piece.start;
        self.published = fresh.end;
        self.download.publish(fresh);
    }

    /// Where the bytes end that are on the disk; readers and the journal know of them.
    fn settle(&mut self) -> io::Result<u64> {
        self.publish();
        let fresh = self.noted..self.piece.start;
        self.noted = fresh.end;
        if !fresh.is_empty() {
            self.download.writer.note(fresh)?;
        }
        Ok(self.noted)
    }
}
