//! [`Download`]: the task behind a fill. Sends out as many fetchers as are worth it, has the digest computed behind them, and puts
//! the blob where the store finds it.
//!
//! What came is not thrown away because more did not: it rests in the staging folder until somebody asks again. Bytes of another
//! digest are, and what an answer that cannot be right came after.

use std::{
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Notify,
    task::{JoinSet, spawn_blocking},
    time::{Instant, MissedTickBehavior, interval_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, warn};

use super::{Error, blocking, fetcher, fill::Fill, fills::Shared, look, plan::Plan, width::Width};
use crate::{
    chain::chain,
    config::FinishFill,
    store::{BlobWriter, CommitError, There},
    upstream::{self, Storage},
};

/// So far the digest may lag behind: bytes that come in order are hashed while they are warm, by who writes them.
const BEHIND: u64 = 4 * 1024 * 1024;
/// How often it is looked at how fast the bytes come.
const LOOK: Duration = Duration::from_millis(200);

/// One download: what its fetchers share.
#[derive(Debug)]
pub(super) struct Download {
    pub(super) fill: Arc<Fill>,
    pub(super) shared: Arc<Shared>,
    pub(super) writer: Arc<BlobWriter>,
    /// what works on the disk
    pub(super) work: TaskTracker,
    /// ends what is being received
    pub(super) halt: CancellationToken,
    /// woken when the digest lags behind
    behind: Notify,
    plan: Mutex<Plan>,
    source: Mutex<Source>,
}

/// Where the bytes come from, once it is known.
#[derive(Debug, Default)]
pub(super) struct Source {
    pub(super) storage: Option<Storage>,
    pub(super) etag: Option<hyper::header::HeaderValue>,
    /// whether the size is in the journal
    pub(super) is_sized: bool,
    /// whether it answered a question for a range with the whole
    pub(super) ignores_ranges: bool,
}

/// Downloads the blob of `fill`; `size` is what a manifest says of it.
pub(super) async fn run(fill: Arc<Fill>, shared: Arc<Shared>, size: Option<u64>, stop: CancellationToken) {
    // a panic must not leave readers waiting
    let over = Over(Arc::clone(&fill), Arc::clone(&shared));
    let outcome = match begin(&fill, &shared, size).await {
        Ok(Some(download)) => Arc::new(download).run(stop).await,
        Ok(None) => Ok(()),
        Err(error) => Err(error),
    };
    if let Err(error) = &outcome {
        let (repository, digest) = (&fill.repository, &fill.digest);
        warn!(%repository, %digest, error = error.message(), "a blob was not fetched");
    }
    fill.finish(outcome);
    drop(over);
}

/// Tells the readers of a download that ended in any other way, and those that wait for others to end.
struct Over(Arc<Fill>, Arc<Shared>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.finish(Err(Error::GivenUp));
        self.1.changed();
    }
}

/// Opens the staging file; nothing, if the blob turns out to be there.
async fn begin(fill: &Arc<Fill>, shared: &Arc<Shared>, size: Option<u64>) -> Result<Option<Download>, Error> {
    // another download may have finished between the look into the store and this one's start
    let (store, digest) = (shared.store.clone(), fill.digest.clone());
    let found = look(move || {
        let found = store.read(&digest)?;
        if found.is_some() {
            // what rests of it is of no use to anybody any more
            store.drop_partial(&digest);
        }
        Ok(found)
    });
    if let Some(reader) = found.await {
        fill.publish_file(Arc::clone(&reader.file));
        fill.publish(0..reader.size);
        fill.verified(reader.size);
        return Ok(None);
    }
    let (store, digest, from) = (shared.store.clone(), fill.digest.clone(), fill.repository.clone());
    let (writer, There { size: noted, extents }) =
        blocking(move || store.write(&digest, &from)).await.map_err(Error::store)?;
    let writer = Arc::new(writer);
    fill.publish_file(writer.file());
    if !extents.is_empty() {
        debug!(digest = %fill.digest, ?extents, "a download is taken up");
        fill.publish_size(noted);
        for extent in &extents {
            fill.publish(extent.clone());
        }
    }
    let plan = Mutex::new(Plan::new(&extents, noted.or(size), shared.alone()));
    let (fill, shared) = (Arc::clone(fill), Arc::clone(shared));
    let (work, halt, behind, source) = Default::default();
    Ok(Some(Download { fill, shared, writer, work, halt, behind, plan, source }))
}

impl Download {
    async fn run(self: Arc<Self>, stop: CancellationToken) -> Result<(), Error> {
        let mut tasks = JoinSet::new();
        let hasher = tokio::spawn(Arc::clone(&self).hash());
        let fetched = tokio::select! {
            fetched = self.fetch(&mut tasks) => fetched,
            () = stop.cancelled() => Err(Error::GivenUp),
            () = self.given_up() => Err(Error::GivenUp),
        };
        self.halt.cancel();
        tasks.shutdown().await;
        hasher.abort();
        let _ = hasher.await;
        // what was handed to the disk is there before anything is said of it
        self.work.close();
        self.work.wait().await;
        if let Err(error) = fetched {
            if error.is_passing() && self.fill.has_bytes() {
                let writer = Arc::clone(&self.writer);
                if let Err(error) = blocking(move || writer.rest()).await {
                    warn!(digest = %self.fill.digest, %error, "a download that broke off cannot be kept");
                }
            }
            return Err(error);
        }
        self.commit().await
    }

    /// Waits until nobody follows and the policy is not to go on.
    async fn given_up(&self) {
        loop {
            self.fill.abandoned().await;
            let goes_on = match self.shared.finish_fill {
                FinishFill::Always => true,
                FinishFill::From(percent) => self.fill.percent() >= u64::from(percent),
                FinishFill::Never => false,
            };
            if !goes_on && self.fill.close() {
                debug!(digest = %self.fill.digest, "a download rests: nobody follows it");
                return;
            }
            self.fill.followed().await;
        }
    }

    /// Fetches what is missing.
    async fn fetch(self: &Arc<Self>, fetchers: &mut JoinSet<Result<(), Error>>) -> Result<(), Error> {
        fetchers.spawn(fetcher::run(Arc::clone(self)));
        let mut width = Width::new(self.shared.most_connections());
        let mut looks = interval_at(Instant::now() + LOOK, LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut before, mut last_error) = (0, None);
        loop {
            tokio::select! {
                joined = fetchers.join_next() => match joined {
                    // one that found no connection free leaves what broke off to the others, and there may be none
                    None if last_error.is_none() && self.plan().left() > 0 => {
                        fetchers.spawn(fetcher::run(Arc::clone(self)));
                    }
                    None => break,
                    Some(Ok(Ok(()))) => last_error = None,
                    Some(Ok(Err(error))) => last_error = Some(error),
                    Some(Err(_)) => return Err(Error::GivenUp),
                },
                _ = looks.tick() => {
                    let now = self.fill.fetched();
                    if self.may_widen() && fetchers.len() >= width.now() {
                        width.look(now - before);
                    }
                    before = now;
                    self.plan().set_width(width.now());
                    while fetchers.len() < width.now() && self.may_widen() {
                        fetchers.spawn(fetcher::run(Arc::clone(self)));
                    }
                }
                () = self.fill.waits.notified() => {
                    let waiting = self.fill.waiting();
                    let is_worth_one = waiting.iter().any(|at| self.plan().is_left(*at));
                    if is_worth_one && self.may_widen() && fetchers.len() < self.shared.most_connections() {
                        fetchers.spawn(fetcher::run(Arc::clone(self)));
                    }
                }
            }
        }
        match last_error {
            Some(error) if self.plan().left() > 0 => Err(error),
            _ => Ok(()),
        }
    }

    /// Whether another connection could do something.
    fn may_widen(&self) -> bool {
        let plan = self.plan();
        let is_large = plan.size().is_some_and(|size| self.shared.is_large(size));
        is_large && plan.left() > 0 && !self.source().ignores_ranges
    }

    /// These bytes can be read.
    pub(super) fn publish(&self, extent: Range<u64>) {
        let front = self.fill.publish(extent);
        if front > self.writer.hashed() + BEHIND {
            self.behind.notify_one();
        }
    }

    /// Computes the digest of what several fetchers brought out of order, and of what was there before.
    async fn hash(self: Arc<Self>) {
        loop {
            let (writer, front) = (Arc::clone(&self.writer), self.fill.front());
            if let Ok(Err(error)) = self.work.spawn_blocking(move || writer.hash_to(front)).await {
                // it is met again, and told of, when the digest is needed
                debug!(%error, "the digest cannot be computed");
                return;
            }
            self.behind.notified().await;
        }
    }

    async fn commit(&self) -> Result<(), Error> {
        let size = self.plan().size().unwrap_or_else(|| self.fill.front());
        let writer = Arc::clone(&self.writer);
        let verified = spawn_blocking(move || writer.verify(size)).await.map_err(|_| Error::GivenUp)?;
        let verified = match verified {
            Ok(verified) => verified,
            Err(error @ CommitError::Corrupt { .. }) => return Err(self.corrupt(error)),
            Err(CommitError::Io { source, .. }) => return Err(Error::store(source)),
        };
        self.fill.verified(size);
        let committed = spawn_blocking(move || verified.commit()).await.map_err(|_| Error::GivenUp)?;
        if committed.is_ok() {
            debug!(digest = %self.fill.digest, "a blob is kept");
        }
        if let Err(error) = committed {
            // the bytes agreed: whoever waits for them shall have them
            warn!(digest = %self.fill.digest, error = chain(&error), "a blob was served without being kept");
        }
        Ok(())
    }

    fn corrupt(&self, error: CommitError) -> Error {
        let registry = &self.fill.repository.registry;
        let storage = self.source().storage.as_ref().map(|storage| format!("{storage:?}"));
        warn!(event = "digest_mismatch", %registry, storage, %error, "upstream sent wrong bytes; nothing was kept");
        Error::Commit(Arc::new(error))
    }

    pub(super) fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn source(&self) -> MutexGuard<'_, Source> {
        self.source.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The size of the whole is now known to be `size`; or it is another one than before.
    pub(super) fn learn_size(&self, size: u64) -> Result<(), upstream::Error> {
        let mut plan = self.plan();
        if let Some(known) = plan.size().filter(|known| *known != size && self.fill.has_bytes()) {
            // while nothing came, the registry's own answer counts for more than what a manifest said
            return Err(upstream::Error::changed(&self.fill.repository.registry, Some(known), Some(size)));
        }
        plan.set_size(size);
        Ok(())
    }
}
