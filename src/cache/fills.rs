//! [`Fills`]: the downloads under way, one for each digest.
//!
//! A download runs in a task of its own and goes on when every reader has left. One that breaks off is taken up where it
//! stopped; one whose bytes do not have the digest leaves nothing behind.

use std::{
    collections::HashMap,
    io, mem,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use bytes::Bytes;
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, warn};

use super::{Error, fill::Fill};
use crate::{
    chain::chain,
    oci::{Digest, Repository},
    store::{BlobStore, BlobWriter, CommitError},
    upstream::{self, Upstream},
};

/// Attempts in a row that bring no byte before a download is given up.
const FRUITLESS_ATTEMPTS: u32 = 4;
/// The pause after an attempt that brought bytes; it doubles with each one in a row that brought none.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Pieces between network and disk: bounds the memory of a download, since hyper's pieces are below half a megabyte.
const PIECES: usize = 32;

#[derive(Debug)]
pub(super) struct Fills {
    table: Mutex<HashMap<Digest, Weak<Fill>>>,
    tasks: TaskTracker,
    stop: CancellationToken,
    store: BlobStore,
    upstream: Arc<Upstream>,
}

/// One download: what its task works with.
struct Download {
    fill: Arc<Fill>,
    digest: Digest,
    client: String,
    store: BlobStore,
    upstream: Arc<Upstream>,
}

impl Fills {
    pub(super) fn new(store: BlobStore, upstream: Arc<Upstream>) -> Self {
        let (table, tasks, stop) = Default::default();
        Self { table, tasks, stop, store, upstream }
    }

    /// The download of `digest` under way, or a new one from `repository`; whether it is new.
    pub(super) fn join(&self, repository: &Repository, digest: &Digest, client: &str) -> (Arc<Fill>, bool) {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        // another registry's download is joined once it has begun to come: its silence is not this one's
        let may_join = |fill: &Arc<Fill>| fill.repository.registry == repository.registry || fill.is_flowing();
        if let Some(fill) = running(&table, digest).filter(may_join) {
            return (fill, false);
        }
        table.retain(|_, fill| fill.strong_count() > 0);
        let fill = Arc::new(Fill::new(repository.clone()));
        table.insert(digest.clone(), Arc::downgrade(&fill));
        let download = Download {
            fill: Arc::clone(&fill),
            digest: digest.clone(),
            client: client.to_owned(),
            store: self.store.clone(),
            upstream: Arc::clone(&self.upstream),
        };
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            // a panic must not leave readers waiting
            let _over = Over(Arc::clone(&download.fill));
            tokio::select! {
                () = stop.cancelled() => {}
                () = download.run() => {}
            }
        });
        (fill, true)
    }

    /// The download of `digest` under way, if there is one.
    pub(super) fn running(&self, digest: &Digest) -> Option<Arc<Fill>> {
        running(&self.table.lock().unwrap_or_else(PoisonError::into_inner), digest)
    }

    pub(super) async fn stop(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

fn running(table: &HashMap<Digest, Weak<Fill>>, digest: &Digest) -> Option<Arc<Fill>> {
    table.get(digest).and_then(Weak::upgrade).filter(|fill| fill.is_running())
}

/// Tells the readers of a download that ended in any other way.
struct Over(Arc<Fill>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.finish(Err(Error::GivenUp));
    }
}

impl Download {
    async fn run(&self) {
        let outcome = self.fetch().await;
        if let Err(error) = &outcome {
            let repository = &self.fill.repository;
            warn!(%repository, digest = %self.digest, error = error.message(), "a blob was not fetched");
        }
        self.fill.finish(outcome);
    }

    async fn fetch(&self) -> Result<(), Error> {
        // another download may have finished between the look into the store and this one's start
        let (store, digest) = (self.store.clone(), self.digest.clone());
        let stored = super::look(move || store.read(&digest)).await;
        if let Some(reader) = stored {
            self.fill.publish_file(Arc::clone(&reader.file));
            self.fill.publish_size(Some(reader.size));
            self.fill.publish(0, reader.size);
            return Ok(());
        }
        let (store, digest, from) = (self.store.clone(), self.digest.clone(), self.fill.repository.clone());
        let (writer, _) = super::blocking(move || store.write(&digest, &from)).await.map_err(Error::store)?;
        self.fill.publish_file(writer.file());
        let (pieces, written) = write_behind(writer, Arc::clone(&self.fill));
        let fetched = self.fetch_all(pieces).await;
        let writer = written.await.unwrap_or_else(|died| Err(io::Error::other(died)));
        // when the disk refused, the fetch failed only because nobody took its bytes
        let writer = writer.map_err(Error::store)?;
        fetched?;
        match tokio::task::spawn_blocking(move || {
            let (writer, size) = writer;
            writer.commit(size)
        })
        .await
        .map_err(io::Error::other)
        .map_err(Error::store)?
        {
            Ok(()) => Ok(()),
            // the bytes are verified, whoever waits for them shall have them
            Err(error @ CommitError::Io { .. }) => {
                let cause = chain(&error);
                warn!(digest = %self.digest, cause, "a blob was served without being kept");
                Ok(())
            }
            Err(error @ CommitError::Corrupt { .. }) => Err(self.corrupt(error)),
        }
    }

    fn corrupt(&self, error: CommitError) -> Error {
        let registry = &self.fill.repository.registry;
        warn!(event = "digest_mismatch", %registry, %error, "upstream sent wrong bytes; nothing was kept");
        Error::Commit(Arc::new(error))
    }

    /// Fetches the blob from its first byte to its last, in as many attempts as it takes.
    async fn fetch_all(&self, pieces: mpsc::Sender<Bytes>) -> Result<(), Error> {
        let (mut have, mut size, mut fruitless) = (0, None, 0);
        loop {
            let before = have;
            let error = match self.attempt(&pieces, &mut have, &mut size).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            fruitless = if have > before { 0 } else { fruitless + 1 };
            if fruitless >= FRUITLESS_ATTEMPTS || !error.may_pass() {
                return Err(Arc::new(error).into());
            }
            debug!(digest = %self.digest, have, %error, "a download broke off and is taken up again");
            tokio::time::sleep(FIRST_PAUSE * 2_u32.pow(fruitless)).await;
        }
    }

    async fn attempt(
        &self,
        pieces: &mpsc::Sender<Bytes>,
        have: &mut u64,
        size: &mut Option<u64>,
    ) -> Result<(), upstream::Error> {
        let registry = &self.fill.repository.registry;
        let mut body = self.upstream.blob(&self.fill.repository, &self.digest, *have, &self.client).await?;
        if size.is_some() && body.total.is_some() && *size != body.total {
            return Err(upstream::Error::changed(registry, *size, body.total));
        }
        *size = size.or(body.total);
        self.fill.publish_size(*size);
        let mut at = body.start;
        while let Some(bytes) = body.next(&self.upstream, registry).await {
            let mut bytes = bytes?;
            self.fill.count(bytes.len() as u64);
            // a server that ignored the range sends again what is there
            let known = usize::try_from(*have - at).unwrap_or(usize::MAX).min(bytes.len());
            at += bytes.len() as u64;
            let fresh = bytes.split_off(known);
            if fresh.is_empty() {
                continue;
            }
            *have = at;
            if pieces.send(fresh).await.is_err() {
                // the writer is gone: its own error is the one that counts
                return Ok(());
            }
        }
        match *size {
            Some(size) if *have != size => Err(upstream::Error::short(registry, *have, size)),
            _ => Ok(()),
        }
    }
}

/// Writes pieces where blocking is allowed, so that a slow disk never holds up the runtime; between pieces no thread is
/// held, so that stalled downloads hold up nobody.
fn write_behind(
    mut writer: BlobWriter,
    fill: Arc<Fill>,
) -> (mpsc::Sender<Bytes>, JoinHandle<io::Result<(BlobWriter, u64)>>) {
    let mut written = 0;
    let (sender, mut pieces) = mpsc::channel::<Bytes>(PIECES);
    let written = tokio::spawn(async move {
        let mut batch = Vec::with_capacity(PIECES);
        while pieces.recv_many(&mut batch, PIECES).await > 0 {
            let (taken, fill) = (mem::take(&mut batch), Arc::clone(&fill));
            (writer, written) = super::blocking(move || {
                for piece in taken {
                    let start = written;
                    writer.write_at(start, &piece)?;
                    written += piece.len() as u64;
                    fill.publish(start, written);
                }
                Ok((writer, written))
            })
            .await?;
        }
        Ok((writer, written))
    });
    (sender, written)
}
