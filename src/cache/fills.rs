//! [`Fills`]: the downloads under way, one for each digest.
//!
//! A download runs in a task of its own and goes on when every reader has left, if the policy is so. What was fetched ahead of
//! any question stands back while something that was asked for is fetched.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{download, fill::Fill, limits::Limits};
use crate::{
    config::{self, FinishFill},
    oci::{Digest, Registry, Repository},
    store::BlobStore,
    upstream::Upstream,
};

#[derive(Debug)]
pub(super) struct Fills {
    shared: Arc<Shared>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// What all downloads work with.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) store: BlobStore,
    pub(super) upstream: Arc<Upstream>,
    pub(super) limits: Limits,
    pub(super) finish_fill: FinishFill,
    parallel_above: u64,
    connections: usize,
    table: Mutex<HashMap<Digest, Weak<Fill>>>,
    /// changes when a download begins or ends, or is asked for
    changes: watch::Sender<()>,
}

impl Fills {
    pub(super) fn new(store: BlobStore, upstream: Arc<Upstream>, config: &config::Config) -> Self {
        let shared = Shared {
            store,
            upstream,
            limits: Limits::new(&config.upstream),
            finish_fill: config.cache.finish_fill,
            parallel_above: config.upstream.parallel_above,
            connections: config.upstream.connections_per_host.min(config.upstream.connections).get(),
            table: Mutex::default(),
            changes: watch::Sender::default(),
        };
        let (tasks, stop) = Default::default();
        Self { shared: Arc::new(shared), tasks, stop }
    }

    /// The download of `digest` under way, or a new one from `repository`; whether it is new. `size` is what is known of it.
    /// Who follows it has to leave it.
    pub(super) fn follow(
        &self,
        repository: &Repository,
        digest: &Digest,
        size: Option<u64>,
        client: &str,
    ) -> (Arc<Fill>, bool) {
        let followed = self.begin(repository, digest, size, client, true);
        // those that nobody asked for stand back now
        self.shared.changed();
        followed
    }

    /// The same for a blob that nobody asked for yet.
    pub(super) fn ahead(&self, repository: &Repository, digest: &Digest, size: Option<u64>, client: &str) -> Arc<Fill> {
        self.begin(repository, digest, size, client, false).0
    }

    fn begin(
        &self,
        repository: &Repository,
        digest: &Digest,
        size: Option<u64>,
        client: &str,
        is_followed: bool,
    ) -> (Arc<Fill>, bool) {
        let mut table = self.shared.table.lock().unwrap_or_else(PoisonError::into_inner);
        // another registry's download is joined once it has begun to come: its silence is not this one's
        let may_join = |fill: &Arc<Fill>| fill.repository.registry == repository.registry || fill.is_flowing();
        let before = running(&table, digest);
        if let Some(fill) = before.clone().filter(may_join).filter(|fill| !is_followed || fill.enter()) {
            return (fill, false);
        }
        table.retain(|_, fill| fill.strong_count() > 0);
        let fill = Arc::new(Fill::new(repository.clone(), digest.clone(), client.to_owned()));
        if is_followed {
            fill.enter();
        }
        table.insert(digest.clone(), Arc::downgrade(&fill));
        drop(table);
        let (begun, shared, stop) = (Arc::clone(&fill), Arc::clone(&self.shared), self.stop.clone());
        self.tasks.spawn(async move {
            // what one that is put to rest leaves is what this one goes on with
            if let Some(before) = before.filter(|before| before.is_closed()) {
                let _ = before.progress().wait_for(|progress| progress.outcome.is_some()).await;
            }
            download::run(begun, shared, size, stop).await;
        });
        (fill, true)
    }

    /// The download of `digest` under way, if there is one.
    pub(super) fn running(&self, digest: &Digest) -> Option<Arc<Fill>> {
        running(&self.shared.table.lock().unwrap_or_else(PoisonError::into_inner), digest)
    }

    /// Whether a download goes on when nobody follows it.
    pub(super) fn finishes_all(&self) -> bool {
        self.shared.finish_fill == FinishFill::Always
    }

    /// Runs beside the downloads, until they are stopped.
    pub(super) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = work => {}
            }
        });
    }

    pub(super) async fn stop(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Shared {
    /// Whether a blob of `size` bytes may be fetched over several connections.
    pub(super) fn is_large(&self, size: u64) -> bool {
        self.parallel_above > 0 && size > self.parallel_above
    }

    /// What one connection asks for while it is alone: no more than a blob may have that is not worth several.
    pub(super) fn alone(&self) -> u64 {
        if self.parallel_above == 0 || self.connections == 1 { u64::MAX } else { self.parallel_above }
    }

    /// How many connections one download may have.
    pub(super) fn most_connections(&self) -> usize {
        self.connections
    }

    pub(super) fn changed(&self) {
        self.changes.send_replace(());
    }

    /// Waits while something that was asked for is fetched from the registry of `fill`, which nobody asked for.
    pub(super) async fn yield_to_asked(&self, fill: &Fill) {
        let mut changes = self.changes.subscribe();
        let may_go = |&(): &()| !self.has_to_yield(fill);
        tokio::select! {
            // the sender lives as long as `self`
            _ = changes.wait_for(may_go) => {}
            () = fill.asked() => {}
        }
    }

    /// Whether nobody asked for `fill`, while something that was asked for is fetched from its registry.
    pub(super) fn has_to_yield(&self, fill: &Fill) -> bool {
        !fill.was_asked() && self.is_busy(&fill.repository.registry)
    }

    fn is_busy(&self, registry: &Registry) -> bool {
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let mut fills = table.values().filter_map(Weak::upgrade);
        fills.any(|fill| fill.repository.registry == *registry && fill.is_running() && fill.was_asked())
    }
}

fn running(table: &HashMap<Digest, Weak<Fill>>, digest: &Digest) -> Option<Arc<Fill>> {
    table.get(digest).and_then(Weak::upgrade).filter(|fill| fill.is_running())
}
