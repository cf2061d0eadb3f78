//! [`Tags`]: what is asked upstream now, what it confirmed lately, and which registries let us wait.
//!
//! In memory only; everything in it can be asked again.

use std::{
    collections::HashMap,
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
/// And of one tag, for so many kinds of clients: more than there are.
const KINDS_OF_CLIENTS: usize = 16;
/// How long a registry counts as slow because somebody waited for it in vain: then one waits again, or it would be
/// served stale for ever to who asks seldom.
const SLOW: Duration = Duration::from_secs(30);

/// What is asked upstream once, however many ask here.
pub(super) type Key = (Repository, Reference, Accept, bool);
pub(super) type Outcome = Result<ManifestAnswer, Error>;
type TagKey = (Repository, Tag);

/// What upstream said to one kind of client.
#[derive(Debug)]
struct Confirmed {
    /// a fingerprint: what a client sends may be long
    accept: String,
    descriptor: Descriptor,
    at: Instant,
}

#[derive(Debug)]
pub(super) struct Tags {
    pub(super) flights: Flights<Key, Outcome>,
    pub(super) keep_deleted: bool,
    confirmed: Mutex<HashMap<TagKey, Vec<Confirmed>>>,
    slow: Mutex<HashMap<Registry, Instant>>,
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
        let said = confirmed.get(&(repository.clone(), tag.clone()))?;
        let accept = accept.fingerprint();
        let Confirmed { descriptor, at, .. } = said.iter().find(|said| said.accept == accept)?;
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
        let said = confirmed.entry((repository.clone(), tag.clone())).or_default();
        let accept = accept.fingerprint();
        said.retain(|said| said.accept != accept);
        said.truncate(KINDS_OF_CLIENTS - 1);
        said.insert(0, Confirmed { accept, descriptor: descriptor.clone(), at: Instant::now() });
    }

    /// Believes no longer what was said of a tag to clients that accept `accept`, nor what they could read of it.
    pub(super) fn forget(&self, repository: &Repository, tag: &Tag, accept: &Accept) {
        let mut confirmed = self.confirmed.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (repository.clone(), tag.clone());
        let Some(said) = confirmed.get_mut(&key) else { return };
        let same = accept.fingerprint();
        said.retain(|said| said.accept != same && !accept.allows(&said.descriptor.media_type));
        if said.is_empty() {
            confirmed.remove(&key);
        }
    }

    /// How long to wait, at `now`, for what upstream says of a cached tag: where one waited in vain, nobody else waits
    /// for a while, or until an answer has come.
    pub(super) fn wait(&self, registry: &Registry, now: Instant) -> Duration {
        let slow = self.slow.lock().unwrap_or_else(PoisonError::into_inner);
        if slow.get(registry).is_some_and(|since| is_believed(*since, now)) { Duration::ZERO } else { self.stale_after }
    }

    /// A registry let somebody wait in vain until `now`. Who did not wait because of an earlier one says nothing new.
    pub(super) fn is_slow(&self, registry: &Registry, now: Instant) {
        let mut slow = self.slow.lock().unwrap_or_else(PoisonError::into_inner);
        slow.retain(|_, since| is_believed(*since, now));
        slow.entry(registry.clone()).or_insert(now);
    }

    /// A registry answered.
    pub(super) fn has_answered(&self, registry: &Registry) {
        self.slow.lock().unwrap_or_else(PoisonError::into_inner).remove(registry);
    }
}

fn is_believed(slow_since: Instant, now: Instant) -> bool {
    now.saturating_duration_since(slow_since) < SLOW
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::Config,
        oci::{Digest, MediaType},
    };

    fn tags() -> Tags {
        let config = config::Cache { revalidate: Duration::from_hours(1), ..Config::default().cache };
        Tags::new(&config)
    }

    #[test]
    fn a_registry_is_slow_for_half_a_minute_however_many_ask_meanwhile() {
        let (tags, start, registry) = (tags(), Instant::now(), "a.example".parse().unwrap());
        let wait = |after: u64| tags.wait(&registry, start + Duration::from_secs(after));
        assert_eq!(wait(0), tags.stale_after);
        tags.is_slow(&registry, start);
        for second in 0..30 {
            assert_eq!(wait(second), Duration::ZERO);
            // one that did not wait and heard nothing in no time
            tags.is_slow(&registry, start + Duration::from_secs(second));
        }
        assert_eq!(wait(30), tags.stale_after);
        tags.is_slow(&registry, start + Duration::from_secs(30));
        assert_eq!(wait(31), Duration::ZERO);
        tags.has_answered(&registry);
        assert_eq!(wait(31), tags.stale_after);
    }

    #[test]
    fn what_is_gone_for_one_client_is_gone_for_all_that_read_the_same() {
        let (tags, tag) = (tags(), "v1".parse().unwrap());
        let repository = Repository { registry: "a.example".parse().unwrap(), name: "app".parse().unwrap() };
        let [image, both, index] =
            [&["a/image"][..], &["a/image", "a/index"], &["a/index"]].map(|types| Accept::new(types.iter().copied()));
        let of = |kind: &str| Descriptor { media_type: MediaType::new(kind), digest: Digest::of(b"x"), size: 1 };
        tags.confirm(&repository, &tag, &image, &of("a/image"));
        tags.confirm(&repository, &tag, &both, &of("a/image"));
        tags.confirm(&repository, &tag, &index, &of("a/index"));
        tags.forget(&repository, &tag, &image);
        let is_known = [&image, &both, &index].map(|accept| tags.confirmed(&repository, &tag, accept).is_some());
        assert_eq!(is_known, [false, false, true]);
        for number in 0..100 {
            tags.confirm(&repository, &tag, &Accept::new([format!("a/{number}").as_str()]), &of("a/image"));
        }
        assert!(tags.confirmed.lock().unwrap().values().all(|said| said.len() <= KINDS_OF_CLIENTS));
    }
}
