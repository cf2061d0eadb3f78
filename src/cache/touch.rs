//! Telling upstream that an image is in use: its lifecycle rules see only what it is asked for.
//!
//! Nobody waits for it, and nothing comes of it when it fails but a line in the log.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::{Cache, ManifestQuestion, blocking};
use crate::{
    chain::chain,
    oci::{Digest, Reference, Repository, Tag},
    upstream::ManifestRequest,
};

impl Cache {
    /// A manifest is served from the cache: if upstream has not given it out for long, it is asked for in the background.
    pub(super) fn touch(self: &Arc<Self>, question: &ManifestQuestion, digest: &Digest) {
        let Some(after) = self.upstream.touch_after() else {
            return;
        };
        let key = manifest_key(&question.repository, digest);
        if !self.contacts.is_due(&key, after, SystemTime::now()) {
            return;
        }
        let (cache, question, reference) = (Arc::clone(self), question.clone(), Reference::Digest(digest.clone()));
        self.fills.spawn(async move { cache.ask_once_more(&question, &reference, key).await });
    }

    async fn ask_once_more(&self, question: &ManifestQuestion, reference: &Reference, key: String) {
        let ManifestQuestion { repository, accept, client, .. } = question;
        let asked = self.upstream.manifest(ManifestRequest { repository, reference, accept, client }, None).await;
        match asked {
            Ok(_) => {
                tracing::debug!(%repository, %reference, "upstream was told that an image is in use");
                if self.contacts.record(&key, SystemTime::now()) {
                    self.write_contact(key).await;
                }
            }
            Err(error) => {
                let error = chain(&error);
                tracing::info!(%repository, %reference, error, "upstream could not be told that an image is in use");
            }
        }
    }

    /// How long ago upstream said that `tag` is `digest`, or gave that manifest out.
    pub(super) fn age(&self, repository: &Repository, tag: &Tag, digest: &Digest) -> Option<Duration> {
        let (now, manifest) = (SystemTime::now(), manifest_key(repository, digest));
        let of_tag = self.contacts.since(&tag_key(repository, tag, digest), now);
        of_tag.or_else(|| self.contacts.since(&manifest, now))
    }

    /// Upstream said that `tag` is `digest`.
    pub(super) async fn was_confirmed(&self, repository: &Repository, tag: &Tag, digest: &Digest) {
        let key = tag_key(repository, tag, digest);
        if self.contacts.record(&key, SystemTime::now()) {
            self.write_contact(key).await;
        }
    }

    async fn write_contact(&self, key: String) {
        let contacts = Arc::clone(&self.contacts);
        if let Err(error) = blocking(move || contacts.write(&key)).await {
            tracing::debug!(%error, "when upstream was asked is not remembered");
        }
    }
}

/// How a manifest that upstream gave out is called among the contacts.
pub(super) fn manifest_key(repository: &Repository, digest: &Digest) -> String {
    format!("{repository}@{digest}")
}

fn tag_key(repository: &Repository, tag: &Tag, digest: &Digest) -> String {
    format!("{repository}:{tag}@{digest}")
}
