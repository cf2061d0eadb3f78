//! [`Tags`]: what is asked upstream now, what it confirmed lately, and which registries let us wait.
//!
//! In memory only; everything in it can be asked again.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::{Error, manifest::ManifestAnswer};
use crate::{
    config,
    flight::Flights,
    oci::{Accept, Descriptor, Reference, Registry, Repository, Tag},
};

/// So many tags are remembered as confirmed; what is forgotten is asked again.
const MOST_CONFIRMED: usize = 10_000;

/// What is asked upstream once, however many ask here.
pub(super) type Key = (Repository, Reference, Accept, bool);
pub(super) type Outcome = Result<ManifestAnswer, Error>;
type TagKey = (Repository, Tag, Accept);

#[derive(Debug)]
pub(super) struct Tags {
    pub(super) flights: Flights<Key, Outcome>,
    pub(super) keep_deleted: bool,
    confirmed: Mutex<HashMap<TagKey, (Descriptor, Instant)>>,
    slow: Mutex<HashSet<Registry>>,
    revalidate: Duration,
    stale_after: Duration,
}

impl Tags {
    pub(super) fn new(config: &config::Cache) -> Self {
        let (flights, confirmed, slow) = Default::default();
        let config::Cache { keep_deleted, revalidate, stale_after, .. } = *config;
        Self { flights, keep_deleted, confirmed, slow, revalidate, stale_after }
    }

    /// What upstream said a tag points to, as long as it is believed.
    pub(super) fn confirmed(&self, repository: &Repository, tag: &Tag, accept: &Accept) -> Option<Descriptor> {
        let confirmed = self.confirmed.lock().unwrap_or_else(PoisonError::into_inner);
        if confirmed.is_empty() {
            return None;
        }
        let (descriptor, at) = confirmed.get(&(repository.clone(), tag.clone(), accept.clone()))?;
        (at.elapsed() < self.revalidate).then(|| descriptor.clone())
    }

    pub(super) fn confirm(&self, repository: &Repository, tag: &Tag, accept: &Accept, descriptor: &Descriptor) {
        if self.revalidate.is_zero() {
            return;
        }
        let mut confirmed = self.confirmed.lock().unwrap_or_else(PoisonError::into_inner);
        if confirmed.len() >= MOST_CONFIRMED {
            confirmed.clear();
        }
        let key = (repository.clone(), tag.clone(), accept.clone());
        confirmed.insert(key, (descriptor.clone(), Instant::now()));
    }

    pub(super) fn forget(&self, repository: &Repository, tag: &Tag, accept: &Accept) {
        let mut confirmed = self.confirmed.lock().unwrap_or_else(PoisonError::into_inner);
        confirmed.remove(&(repository.clone(), tag.clone(), accept.clone()));
    }

    /// How long to wait for what upstream says of a cached tag: where one waited in vain, nobody else waits until an
    /// answer has come.
    pub(super) fn wait(&self, registry: &Registry) -> Duration {
        let slow = self.slow.lock().unwrap_or_else(PoisonError::into_inner);
        if slow.contains(registry) { Duration::ZERO } else { self.stale_after }
    }

    /// A registry let somebody wait in vain.
    pub(super) fn is_slow(&self, registry: &Registry) {
        self.slow.lock().unwrap_or_else(PoisonError::into_inner).insert(registry.clone());
    }

    /// A registry answered.
    pub(super) fn has_answered(&self, registry: &Registry) {
        self.slow.lock().unwrap_or_else(PoisonError::into_inner).remove(registry);
    }
}
