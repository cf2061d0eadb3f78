//! Fetching ahead: what a manifest names that a client has just read is what it asks for next. And taking up what a daemon that
//! died had begun.
//!
//! Never another platform's: only a manifest of layers is followed, never an index. Few at a time, and all of them stand back
//! while something that was asked for comes.

use std::sync::Arc;

use tracing::debug;

use super::{Cache, look};
use crate::{
    oci::{Digest, Repository},
    store::Partial,
};

impl Cache {
    /// Begins to fetch the blobs of a manifest that a client reads, as far as they are not there.
    pub(super) fn fetch_ahead(self: &Arc<Self>, repository: &Repository, blobs: Vec<(Digest, u64)>, client: &str) {
        if !self.fetches_ahead || self.upstream.is_offline() {
            return;
        }
        for (digest, size) in blobs {
            let (cache, repository, client) = (Arc::clone(self), repository.clone(), client.to_owned());
            self.fills.spawn(async move { cache.fetch_one_ahead(&repository, &digest, size, &client).await });
        }
    }

    async fn fetch_one_ahead(&self, repository: &Repository, digest: &Digest, size: u64, client: &str) {
        // the semaphore is never closed
        let Ok(_turn) = self.turns.acquire().await else { return };
        if self.fills.running(digest).is_some() || self.stored(digest).await.is_some() {
            return;
        }
        let fill = self.fills.ahead(repository, digest, Some(size), client);
        let mut progress = fill.progress();
        // why it failed is logged where it failed; who asks for it is told then
        let _ = progress.wait_for(|progress| progress.outcome.is_some()).await;
    }

    /// Goes on with the downloads that a daemon before this one did not finish, if that is the policy.
    pub fn take_up(self: &Arc<Self>) {
        if !self.fills.finishes_all() || self.upstream.is_offline() {
            return;
        }
        let cache = Arc::clone(self);
        self.fills.spawn(async move {
            let store = cache.store.clone();
            let partials = look(move || store.partials()).await;
            for Partial { digest, from } in partials {
                debug!(%digest, repository = %from, "a download that was broken off goes on");
                let fill = cache.fills.ahead(&from, &digest, None, "");
                let _ = fill.progress().wait_for(|progress| progress.outcome.is_some()).await;
            }
        });
    }
}
