//! Manifests through the cache: by digest for ever, by tag as fresh as upstream can tell.
//!
//! A manifest is checked against its digest before its first byte is served. What is known of a tag is served as stale
//! only when upstream is out of order: never after a no.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::time::timeout;

use super::{Cache, Error, Status};
use crate::{
    chain::chain,
    oci::{Accept, Descriptor, Manifest, Reference, Repository, Tag},
    upstream::{self, Head, ManifestRequest},
};

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
    /// Of a stale answer, how long ago upstream confirmed it, as far as that is known.
    pub age: Option<Duration>,
    /// Bytes of manifests that came from upstream for this answer.
    pub upstream_bytes: u64,
}

impl ManifestQuestion {
    fn request<'a>(&'a self, reference: &'a Reference) -> ManifestRequest<'a> {
        ManifestRequest { repository: &self.repository, reference, accept: &self.accept, client: &self.client }
    }
}

impl ManifestAnswer {
    fn stored(manifest: Manifest, status: Status) -> Self {
        let (descriptor, manifest) = (manifest.descriptor.clone(), Some(manifest));
        Self { descriptor, manifest, status, age: None, upstream_bytes: 0 }
    }

    pub(super) fn fetched(manifest: Manifest) -> Self {
        let upstream_bytes = manifest.descriptor.size;
        Self { upstream_bytes, ..Self::stored(manifest, Status::Miss) }
    }

    fn told(descriptor: Descriptor, status: Status) -> Self {
        Self { descriptor, manifest: None, status, age: None, upstream_bytes: 0 }
    }
}

impl Cache {
    /// A manifest or, with `head`, what there is to know without one.
    pub async fn manifest(self: &Arc<Self>, question: ManifestQuestion) -> Result<ManifestAnswer, Error> {
        let answer = match question.reference.clone() {
            Reference::Digest(digest) => match self.stored_manifest(&question.repository, &digest).await {
                Some(manifest) => Ok(ManifestAnswer::stored(manifest, Status::Hit)),
                None => self.once(&question, true).await,
            },
            Reference::Tag(tag) => self.tag(&question, &tag).await,
        };
        let answer = answer.map_err(|error| {
            error.about(|| match &question.reference {
                Reference::Digest(digest) => format!("{}@{digest}", question.repository),
                Reference::Tag(tag) => format!("{}:{tag}", question.repository),
            })
        })?;
        if let Some(manifest) = &answer.manifest {
            let blobs = self.sizes.learn(&question.repository, manifest, !question.head);
            self.fetch_ahead(&question.repository, blobs, &question.client);
            if answer.status == Status::Hit {
                self.touch(&question, &manifest.descriptor.digest);
            }
        }
        Ok(answer)
    }

    async fn tag(self: &Arc<Self>, question: &ManifestQuestion, tag: &Tag) -> Result<ManifestAnswer, Error> {
        let ManifestQuestion { repository, accept, .. } = question;
        if let Some(descriptor) = self.tags.confirmed(repository, tag, accept) {
            if let Some(answer) = self.of_descriptor(question, descriptor).await {
                return Ok(answer);
            }
            // what it points to is not to be had: it may have moved
            self.tags.forget(repository, tag, accept);
        }
        let entries = self.readable_entries(repository, tag, accept).await;
        if self.upstream.is_immutable(repository, tag)
            && let Some(entry) = entries.first()
            && let Some(answer) = self.of_descriptor(question, entry.descriptor.clone()).await
        {
            return Ok(answer);
        }
        let Some(stale) = self.first_stored(repository, entries).await else {
            return self.once(question, true).await;
        };
        // for GET and HEAD the same is asked: whether the tag has moved
        let asked = ManifestQuestion { head: true, ..question.clone() };
        let work = async {
            let answer = self.once(&asked, false).await?;
            if question.head || answer.manifest.is_some() {
                return Ok(answer);
            }
            let reference = Reference::Digest(answer.descriptor.digest);
            self.once(&ManifestQuestion { reference, ..question.clone() }, false).await
        };
        match timeout(self.tags.wait(&repository.registry, Instant::now()), work).await {
            Ok(Err(Error::Upstream(error))) if self.may_stand_in(&error) => {
                tracing::warn!(%repository, %tag, error = chain(&*error), "the last known manifest is served");
            }
            Ok(answer) => return answer,
            // the question goes on, and what comes of it counts for the next
            Err(_) => {
                self.tags.is_slow(&repository.registry, Instant::now());
                tracing::warn!(%repository, %tag, "upstream is slow; the last known manifest is served");
            }
        }
        let age = self.age(repository, tag, &stale.descriptor.digest);
        Ok(ManifestAnswer { age, ..ManifestAnswer::stored(stale, Status::Stale) })
    }

    /// Whether a cached tag is served in the place of `error`.
    fn may_stand_in(&self, error: &upstream::Error) -> bool {
        error.is_outage() || (self.tags.keep_deleted && error.is_absence())
    }

    /// The answer when it is known what a tag points to; `None` when that is not to be had.
    async fn of_descriptor(
        self: &Arc<Self>,
        question: &ManifestQuestion,
        descriptor: Descriptor,
    ) -> Option<ManifestAnswer> {
        if let Some(manifest) = self.stored_manifest(&question.repository, &descriptor.digest).await {
            return Some(ManifestAnswer::stored(manifest, Status::Hit));
        }
        if question.head && !self.upstream.is_offline() {
            return Some(ManifestAnswer::told(descriptor, Status::Hit));
        }
        let reference = Reference::Digest(descriptor.digest);
        self.once(&ManifestQuestion { reference, ..question.clone() }, true).await.ok()
    }

    /// Asks upstream, together with all who ask the same now; more than once if that is of use and nothing can stand in.
    async fn once(self: &Arc<Self>, question: &ManifestQuestion, patiently: bool) -> Result<ManifestAnswer, Error> {
        let ManifestQuestion { repository, reference, accept, head, .. } = question;
        let key = (repository.clone(), reference.clone(), accept.clone(), *head);
        let work = || {
            let (cache, question) = (Arc::clone(self), question.clone());
            async move {
                let outcome = cache.fetch(&question, patiently).await;
                if outcome.as_ref().err().and_then(Error::upstream).is_none_or(|error| !error.is_outage()) {
                    cache.tags.has_answered(&question.repository.registry);
                }
                outcome
            }
        };
        let (outcome, started) = self.tags.flights.join(key, work).await.map_err(|_| Error::GivenUp)?;
        let mut answer = outcome?;
        if !started {
            answer.upstream_bytes = 0;
            answer.status = if answer.status == Status::Miss { Status::Join } else { answer.status };
        }
        Ok(answer)
    }

    async fn fetch(&self, question: &ManifestQuestion, patiently: bool) -> Result<ManifestAnswer, Error> {
        let ManifestQuestion { repository, reference, accept, head, .. } = question;
        let patience = patiently.then(|| self.upstream.patience());
        let request = question.request(reference);
        let Reference::Tag(tag) = reference else {
            let found = match head {
                true => self.upstream.head(request, patience).await,
                false => self.upstream.manifest(request, patience).await.map(Head::Manifest),
            };
            return self.answer(question, found.map_err(Arc::new)?).await;
        };
        // an earlier question may have been answered between the look at it and this one's start
        if let Some(descriptor) = self.tags.confirmed(repository, tag, accept) {
            let answer = self.answer(question, Head::Descriptor(descriptor)).await?;
            if answer.manifest.is_some() {
                return Ok(answer);
            }
        }
        let known = self.tag_entries(repository, tag, accept).await;
        let found = if *head || !known.is_empty() {
            self.upstream.head(request, patience.clone()).await
        } else {
            self.upstream.manifest(request, patience.clone()).await.map(Head::Manifest)
        };
        let answer = match found {
            Ok(found) => self.answer(question, found).await?,
            Err(error) => {
                // after a 401 or 403 what is known stays: a right that is gone, or is not there yet, says nothing of the tag
                if error.is_absence() && !self.tags.keep_deleted {
                    self.forget(repository, tag, accept).await;
                }
                return Err(Arc::new(error).into());
            }
        };
        self.tags.confirm(repository, tag, accept, &answer.descriptor);
        self.was_confirmed(repository, tag, &answer.descriptor.digest).await;
        let last = known.into_iter().find(|entry| entry.same_accept).map(|entry| entry.descriptor);
        if last.as_ref() != Some(&answer.descriptor) {
            self.point(repository, tag, accept, &answer.descriptor).await;
        }
        if *head || answer.manifest.is_some() {
            return Ok(answer);
        }
        let by_digest = Reference::Digest(answer.descriptor.digest);
        let manifest = self.upstream.manifest(question.request(&by_digest), patience).await.map_err(Arc::new)?;
        self.keep(repository, manifest).await
    }

    /// What upstream told, with the manifest if it came or is stored.
    async fn answer(&self, question: &ManifestQuestion, found: Head) -> Result<ManifestAnswer, Error> {
        let descriptor = match found {
            Head::Manifest(manifest) => return self.keep(&question.repository, manifest).await,
            Head::Descriptor(descriptor) => descriptor,
        };
        match self.stored_manifest(&question.repository, &descriptor.digest).await {
            Some(manifest) => Ok(ManifestAnswer::stored(manifest, Status::Hit)),
            None => Ok(ManifestAnswer::told(descriptor, Status::Miss)),
        }
    }
}
