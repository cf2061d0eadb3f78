//! Manifests through the cache: by digest for ever, by tag as fresh as upstream can tell.
//!
//! A manifest is checked against its digest before its first byte is served. What is known of a tag is served as stale
//! only when upstream is out of order: never after a no.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::time::timeout;

use super::{Cache, Error, Status, blocking, look};
use crate::{
    chain::chain,
    config,
    flight::Flights,
    oci::{Accept, Descriptor, Digest, Manifest, Reference, Repository, Tag},
    store::TagEntry,
    upstream::Head,
};

/// So many tags are remembered as confirmed; what is forgotten is asked again.
const MOST_CONFIRMED: usize = 10_000;

/// A client's question for a manifest.
#[derive(Clone, Debug)]
pub struct ManifestQuestion {
    /// Of which repository.
    pub repository: Repository,
    /// By tag or digest.
    pub reference: Reference,
    /// What the client can read.
    pub accept: Accept,
    /// Whether only the descriptor is wanted (HEAD).
    pub head: bool,
    /// Who asks, for the registry's own log.
    pub client: String,
}

/// A manifest, or its descriptor when only that was asked for.
#[derive(Clone, Debug)]
pub struct ManifestAnswer {
    /// What it is.
    pub descriptor: Descriptor,
    /// Its bytes; `None` only for a question with `head`.
    pub manifest: Option<Manifest>,
    /// How the answer came about.
    pub status: Status,
    /// Bytes of manifests that came from upstream for this answer.
    pub upstream_bytes: u64,
}

/// What is asked upstream once, however many ask here.
type Key = (Repository, Reference, Accept, bool);
type Outcome = Result<ManifestAnswer, Error>;
type TagKey = (Repository, Tag, Accept);

/// What is under way and what was confirmed lately.
#[derive(Debug)]
pub(super) struct Tags {
    flights: Flights<Key, Outcome>,
    confirmed: Mutex<HashMap<TagKey, (Digest, Instant)>>,
    revalidate: Duration,
    stale_after: Duration,
}

impl Tags {
    pub(super) fn new(config: &config::Cache) -> Self {
        let (flights, confirmed) = Default::default();
        Self { flights, confirmed, revalidate: config.revalidate, stale_after: config.stale_after }
    }

    fn confirmed(&self, repository: &Repository, tag: &Tag, accept: &Accept) -> Option<Digest> {
        let confirmed = self.confirmed.lock().unwrap_or_else(PoisonError::into_inner);
        let (digest, at) = confirmed.get(&(repository.clone(), tag.clone(), accept.clone()))?;
        (at.elapsed() < self.revalidate).then(|| digest.clone())
    }

    fn confirm(&self, repository: &Repository, tag: &Tag, accept: &Accept, digest: &Digest) {
        if self.revalidate.is_zero() {
            return;
        }
        let mut confirmed = self.confirmed.lock().unwrap_or_else(PoisonError::into_inner);
        if confirmed.len() >= MOST_CONFIRMED {
            confirmed.clear();
        }
        let key = (repository.clone(), tag.clone(), accept.clone());
        confirmed.insert(key, (digest.clone(), Instant::now()));
    }
}

impl ManifestAnswer {
    fn stored(manifest: Manifest, status: Status) -> Self {
        Self { descriptor: manifest.descriptor.clone(), manifest: Some(manifest), status, upstream_bytes: 0 }
    }

    fn fetched(manifest: Manifest) -> Self {
        let upstream_bytes = manifest.descriptor.size;
        Self { upstream_bytes, ..Self::stored(manifest, Status::Miss) }
    }
}

impl Cache {
    /// A manifest or, with `head`, what there is to know without one.
    pub async fn manifest(self: &Arc<Self>, question: ManifestQuestion) -> Result<ManifestAnswer, Error> {
        match question.reference.clone() {
            Reference::Digest(digest) => {
                if let Some(manifest) = self.stored_manifest(&question.repository, &digest).await {
                    return Ok(ManifestAnswer::stored(manifest, Status::Hit));
                }
                self.once(&question).await
            }
            Reference::Tag(tag) => self.tag(&question, &tag).await,
        }
    }

    async fn tag(self: &Arc<Self>, question: &ManifestQuestion, tag: &Tag) -> Result<ManifestAnswer, Error> {
        let ManifestQuestion { repository, accept, .. } = question;
        if let Some(digest) = self.tags.confirmed(repository, tag, accept)
            && let Some(manifest) = self.stored_manifest(repository, &digest).await
        {
            return Ok(ManifestAnswer::stored(manifest, Status::Hit));
        }
        let Some(stale) = self.last_known(repository, tag, accept).await else {
            return self.once(question).await;
        };
        match timeout(self.tags.stale_after, self.once(question)).await {
            Ok(Err(Error::Upstream(error))) if error.is_outage() => {
                tracing::warn!(%repository, %tag, %error, "upstream is out of order; the last known manifest is served");
            }
            Ok(answer) => return answer,
            Err(_) => tracing::warn!(%repository, %tag, "upstream is slow; the last known manifest is served"),
        }
        Ok(ManifestAnswer::stored(stale, Status::Stale))
    }

    /// Asks upstream, together with all who ask the same now.
    async fn once(self: &Arc<Self>, question: &ManifestQuestion) -> Result<ManifestAnswer, Error> {
        let ManifestQuestion { repository, reference, accept, head, .. } = question;
        let key = (repository.clone(), reference.clone(), accept.clone(), *head);
        let work = || {
            let (cache, question) = (Arc::clone(self), question.clone());
            async move { cache.fetch(&question).await }
        };
        let (outcome, started) = self.tags.flights.join(key, work).await.map_err(|_| Error::GivenUp)?;
        let mut answer = outcome?;
        if !started {
            answer.upstream_bytes = 0;
            answer.status = if answer.status == Status::Miss { Status::Join } else { answer.status };
        }
        Ok(answer)
    }

    async fn fetch(&self, question: &ManifestQuestion) -> Result<ManifestAnswer, Error> {
        let ManifestQuestion { repository, reference, accept, head, client } = question;
        let Reference::Tag(tag) = reference else {
            return self.fetch_manifest(question, reference).await;
        };
        let known = self.tag_entries(repository, tag, accept).await;
        let found = if *head || !known.is_empty() {
            self.upstream.head(repository, reference, accept, client).await
        } else {
            self.upstream.manifest(repository, reference, accept, client).await.map(Head::Manifest)
        };
        let answer = match found {
            Ok(Head::Manifest(manifest)) => self.keep(repository, manifest).await?,
            Ok(Head::Descriptor(descriptor)) => self.resolved(question, descriptor).await?,
            Err(error) => {
                if error.is_absence() {
                    self.forget(repository, tag, accept).await;
                }
                return Err(Arc::new(error).into());
            }
        };
        self.tags.confirm(repository, tag, accept, &answer.descriptor.digest);
        let last = known.into_iter().find(|entry| entry.same_accept).map(|entry| entry.descriptor);
        if last.as_ref() != Some(&answer.descriptor) {
            self.point(repository, tag, accept, &answer.descriptor).await;
        }
        Ok(answer)
    }

    /// The answer once the digest behind a tag is known.
    async fn resolved(&self, question: &ManifestQuestion, descriptor: Descriptor) -> Result<ManifestAnswer, Error> {
        if let Some(manifest) = self.stored_manifest(&question.repository, &descriptor.digest).await {
            return Ok(ManifestAnswer::stored(manifest, Status::Hit));
        }
        if question.head {
            return Ok(ManifestAnswer { descriptor, manifest: None, status: Status::Miss, upstream_bytes: 0 });
        }
        self.fetch_manifest(question, &Reference::Digest(descriptor.digest)).await
    }

    async fn fetch_manifest(&self, question: &ManifestQuestion, by: &Reference) -> Result<ManifestAnswer, Error> {
        let ManifestQuestion { repository, accept, client, .. } = question;
        let manifest = self.upstream.manifest(repository, by, accept, client).await.map_err(Arc::new)?;
        self.keep(repository, manifest).await
    }

    async fn keep(&self, repository: &Repository, manifest: Manifest) -> Result<ManifestAnswer, Error> {
        let (store, repository, kept) = (self.store.clone(), repository.clone(), manifest.clone());
        let put = tokio::task::spawn_blocking(move || store.put_manifest(&repository, &kept)).await;
        let put = put.map_err(std::io::Error::other).map_err(Error::store)?;
        if let Err(error) = put {
            // a disk that takes nothing is no reason to refuse what is in memory and verified
            tracing::warn!(error = chain(&error), "a manifest is served without being kept");
        }
        Ok(ManifestAnswer::fetched(manifest))
    }

    /// Remembers what a tag points to.
    async fn point(&self, repository: &Repository, tag: &Tag, accept: &Accept, descriptor: &Descriptor) {
        let (store, of, name) = (self.store.clone(), repository.clone(), tag.clone());
        let (types, to) = (accept.clone(), descriptor.clone());
        if let Err(error) = blocking(move || store.put_tag(&of, &name, &types, &to)).await {
            tracing::warn!(%repository, %tag, %error, "a tag is answered without being remembered");
        }
    }

    /// A tag that upstream does not know is not served when upstream is gone, either.
    async fn forget(&self, repository: &Repository, tag: &Tag, accept: &Accept) {
        let (store, of, name, types) = (self.store.clone(), repository.clone(), tag.clone(), accept.clone());
        if let Err(error) = blocking(move || store.remove_tag(&of, &name, &types)).await {
            tracing::warn!(%repository, %tag, %error, "a tag that is gone upstream could not be forgotten");
        }
    }

    /// The manifest a tag was last seen to point to, of a type the client can read.
    async fn last_known(&self, repository: &Repository, tag: &Tag, accept: &Accept) -> Option<Manifest> {
        let mut entries = self.tag_entries(repository, tag, accept).await;
        // first what the same kind of client got, then the newest of the others
        entries.sort_by_key(|entry| !entry.same_accept);
        for entry in entries.into_iter().filter(|entry| accept.allows(&entry.descriptor.media_type)) {
            if let Some(manifest) = self.stored_manifest(repository, &entry.descriptor.digest).await {
                return Some(manifest);
            }
        }
        None
    }

    async fn tag_entries(&self, repository: &Repository, tag: &Tag, accept: &Accept) -> Vec<TagEntry> {
        let (store, repository, tag, accept) = (self.store.clone(), repository.clone(), tag.clone(), accept.clone());
        look(move || store.tag(&repository, &tag, &accept)).await
    }

    async fn stored_manifest(&self, repository: &Repository, digest: &Digest) -> Option<Manifest> {
        if let Some(manifest) = self.recall.get(repository, digest, Instant::now()) {
            return Some(manifest);
        }
        let begun = self.recall.begin();
        let (store, of, wanted) = (self.store.clone(), repository.clone(), digest.clone());
        let manifest = look(move || store.manifest(&of, &wanted)).await?;
        self.recall.put(begun, repository, &manifest, Instant::now());
        Some(manifest)
    }
}
