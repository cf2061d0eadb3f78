//! What the cache keeps of manifests and tags, and finds again.
//!
//! Nothing here asks upstream. A store that refuses costs only the cache.

use std::{
    sync::Arc,
    time::{Instant, SystemTime},
};

use super::{Cache, Error, blocking, look, manifest::ManifestAnswer, touch::manifest_key};
use crate::{
    chain::chain,
    oci::{Accept, Descriptor, Digest, Manifest, Repository, Tag},
    store::{CommitError, TagEntry},
};

impl Cache {
    pub(super) async fn keep(&self, repository: &Repository, manifest: Manifest) -> Result<ManifestAnswer, Error> {
        let (store, repository, kept) = (self.store.clone(), repository.clone(), manifest.clone());
        let contacts = Arc::clone(&self.contacts);
        let put = tokio::task::spawn_blocking(move || {
            store.put_manifest(&repository, &kept)?;
            let key = manifest_key(&repository, &kept.descriptor.digest);
            if contacts.record(&key, SystemTime::now()) {
                // a time that is not remembered costs one question more
                let _ = contacts.write(&key);
            }
            Ok(())
        });
        let put: Result<(), CommitError> = put.await.map_err(std::io::Error::other).map_err(Error::store)?;
        if let Err(error) = put {
            // a disk that takes nothing is no reason to refuse what is in memory and verified
            tracing::warn!(error = chain(&error), "a manifest is served without being kept");
        }
        Ok(ManifestAnswer::fetched(manifest))
    }

    /// Remembers what a tag points to.
    pub(super) async fn point(&self, repository: &Repository, tag: &Tag, accept: &Accept, descriptor: &Descriptor) {
        let (store, of, name) = (self.store.clone(), repository.clone(), tag.clone());
        let (types, to) = (accept.clone(), descriptor.clone());
        if let Err(error) = blocking(move || store.put_tag(&of, &name, &types, &to)).await {
            tracing::warn!(%repository, %tag, %error, "a tag is answered without being remembered");
        }
    }

    /// A tag that upstream does not know is not served when upstream is gone, either: to nobody who reads the same types.
    pub(super) async fn forget(&self, repository: &Repository, tag: &Tag, accept: &Accept) {
        self.tags.forget(repository, tag, accept);
        let (store, of) = (self.store.clone(), repository.clone());
        let (name, types) = (tag.clone(), accept.clone());
        if let Err(error) = blocking(move || store.remove_tag(&of, &name, &types)).await {
            tracing::warn!(%repository, %tag, %error, "a tag that is gone upstream could not be forgotten");
        }
    }

    /// What a tag was seen to point to, of types the client can read: first what the same kind of client got, then the
    /// newest of the others.
    pub(super) async fn readable_entries(&self, repository: &Repository, tag: &Tag, accept: &Accept) -> Vec<TagEntry> {
        let mut entries = self.tag_entries(repository, tag, accept).await;
        entries.retain(|entry| accept.allows(&entry.descriptor.media_type));
        entries.sort_by_key(|entry| !entry.same_accept);
        entries
    }

    pub(super) async fn first_stored(&self, repository: &Repository, entries: Vec<TagEntry>) -> Option<Manifest> {
        for entry in entries {
            if let Some(manifest) = self.stored_manifest(repository, &entry.descriptor.digest).await {
                return Some(manifest);
            }
        }
        None
    }

    pub(super) async fn tag_entries(&self, repository: &Repository, tag: &Tag, accept: &Accept) -> Vec<TagEntry> {
        let (store, repository, tag, accept) = (self.store.clone(), repository.clone(), tag.clone(), accept.clone());
        look(move || store.tag(&repository, &tag, &accept)).await
    }

    pub(super) async fn stored_manifest(&self, repository: &Repository, digest: &Digest) -> Option<Manifest> {
        let losses = self.store.touch(digest);
        if let Some(manifest) = losses.and_then(|losses| self.recall.get(repository, digest, losses, Instant::now())) {
            return Some(manifest);
        }
        let (store, of, wanted) = (self.store.clone(), repository.clone(), digest.clone());
        let manifest = look(move || store.manifest(&of, &wanted)).await?;
        if let Some(losses) = losses {
            self.recall.put(repository, &manifest, losses, Instant::now());
        }
        Some(manifest)
    }
}
