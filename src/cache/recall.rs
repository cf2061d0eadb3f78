//! [`Recall`]: manifests that were read and verified lately, in memory.
//!
//! Bounded in bytes and in time: what is older goes through the store again, which counts the read, checks the bytes and
//! notices content that is gone. Keyed by repository: that one repository has a manifest says nothing of another.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::oci::{Digest, Manifest, Repository};

/// Bytes of manifests that are kept.
const BOUND: usize = 16 * 1024 * 1024;
/// What an entry costs beside the manifest's bytes: names, digests and the table's own.
const ENTRY: usize = 512;
/// How long the store is not asked.
const BELIEVED: Duration = Duration::from_mins(1);

/// Manifests in memory.
#[derive(Debug, Default)]
pub(super) struct Recall(Mutex<Table>);

/// How often something was forgotten when a look into the store began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Begun(u64);

#[derive(Debug, Default)]
struct Table {
    manifests: HashMap<Digest, Vec<Entry>>,
    /// in the order they came; one that was asked for since gets a second round
    round: VecDeque<(Digest, u64)>,
    bytes: usize,
    forgotten: u64,
    next: u64,
}

#[derive(Debug)]
struct Entry {
    repository: Repository,
    manifest: Manifest,
    read: Instant,
    number: u64,
    was_asked: bool,
}

impl Recall {
    /// A manifest that `repository` has, if it was read lately.
    pub(super) fn get(&self, repository: &Repository, digest: &Digest, now: Instant) -> Option<Manifest> {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entries = table.manifests.get_mut(digest)?;
        let entry = entries.iter_mut().find(|entry| entry.repository == *repository)?;
        if now.saturating_duration_since(entry.read) >= BELIEVED {
            return None;
        }
        entry.was_asked = true;
        Some(entry.manifest.clone())
    }

    /// To be called before the store is read, for [`put`](Self::put).
    pub(super) fn begin(&self) -> Begun {
        Begun(self.0.lock().unwrap_or_else(PoisonError::into_inner).forgotten)
    }

    /// Keeps what the store had; not if something was forgotten since the look into it began.
    pub(super) fn put(&self, begun: Begun, repository: &Repository, manifest: &Manifest, now: Instant) {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let table = &mut *table;
        let (digest, cost) = (&manifest.descriptor.digest, cost(manifest));
        if table.forgotten != begun.0 || cost > BOUND / 4 {
            return;
        }
        let entries = table.manifests.entry(digest.clone()).or_default();
        if let Some(entry) = entries.iter_mut().find(|entry| entry.repository == *repository) {
            (entry.manifest, entry.read) = (manifest.clone(), now);
            return;
        }
        table.next += 1;
        let (repository, manifest, number) = (repository.clone(), manifest.clone(), table.next);
        table.round.push_back((digest.clone(), number));
        entries.push(Entry { repository, manifest, read: now, number, was_asked: false });
        table.bytes += cost;
        while table.bytes > BOUND && table.drop_one() {}
    }

    /// The content of this digest is gone, or is not what it should be.
    pub(super) fn forget(&self, digest: &Digest) {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        table.forgotten += 1;
        let gone = table.manifests.remove(digest).unwrap_or_default();
        table.bytes -= gone.iter().map(|entry| cost(&entry.manifest)).sum::<usize>();
        table.round.retain(|(other, _)| other != digest);
    }
}

impl Table {
    /// Drops the oldest that nobody asked for since its turn came last; whether there was one to look at.
    fn drop_one(&mut self) -> bool {
        let Some((digest, number)) = self.round.pop_front() else { return false };
        let Some(entries) = self.manifests.get_mut(&digest) else { return true };
        let Some(place) = entries.iter().position(|entry| entry.number == number) else { return true };
        if std::mem::take(&mut entries[place].was_asked) {
            self.round.push_back((digest, number));
            return true;
        }
        self.bytes -= cost(&entries.swap_remove(place).manifest);
        if entries.is_empty() {
            self.manifests.remove(&digest);
        }
        true
    }
}

fn cost(manifest: &Manifest) -> usize {
    manifest.bytes.len() + ENTRY
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::MediaType;

    fn repository(name: &str) -> Repository {
        Repository { registry: "registry.test".parse().unwrap(), name: name.parse().unwrap() }
    }

    fn manifest(text: &str) -> Manifest {
        let media_type = MediaType::new("application/vnd.oci.image.manifest.v1+json");
        Manifest::new(media_type, bytes::Bytes::from(text.to_owned()))
    }

    #[test]
    fn a_manifest_is_recalled_for_its_repository_and_for_a_while() {
        let (recall, now, one) = (Recall::default(), Instant::now(), manifest("one"));
        let (a, b, digest) = (repository("a"), repository("b"), &one.descriptor.digest);
        recall.put(recall.begin(), &a, &one, now);
        assert_eq!(recall.get(&a, digest, now).unwrap().bytes, one.bytes);
        assert!(recall.get(&b, digest, now).is_none());
        assert!(recall.get(&a, digest, now + BELIEVED).is_none());
        recall.put(recall.begin(), &a, &one, now + BELIEVED);
        assert!(recall.get(&a, digest, now + BELIEVED).is_some());
        assert_eq!(recall.0.lock().unwrap().round.len(), 1);
    }

    #[test]
    fn what_is_forgotten_is_gone_even_while_it_is_being_read() {
        let (recall, now, one) = (Recall::default(), Instant::now(), manifest("one"));
        let (a, b, digest) = (repository("a"), repository("b"), &one.descriptor.digest);
        recall.put(recall.begin(), &a, &one, now);
        recall.put(recall.begin(), &b, &one, now);
        let begun = recall.begin();
        recall.forget(digest);
        recall.put(begun, &a, &one, now);
        assert!(recall.get(&a, digest, now).is_none() && recall.get(&b, digest, now).is_none());
        assert_eq!(recall.0.lock().unwrap().bytes, 0);
        recall.put(recall.begin(), &a, &one, now);
        assert!(recall.get(&a, digest, now).is_some());
    }

    #[test]
    fn memory_is_bounded_and_what_is_asked_for_stays() {
        let (recall, now, a) = (Recall::default(), Instant::now(), repository("a"));
        let wanted = manifest("wanted");
        recall.put(recall.begin(), &a, &wanted, now);
        for number in 0..3000 {
            assert!(recall.get(&a, &wanted.descriptor.digest, now).is_some());
            recall.put(recall.begin(), &a, &manifest(&format!("{number:020000}")), now);
            assert!(recall.0.lock().unwrap().bytes <= BOUND);
        }
        let table = recall.0.lock().unwrap();
        assert_eq!(table.round.len(), table.manifests.len());
        let bytes: usize = table.manifests.values().flatten().map(|entry| cost(&entry.manifest)).sum();
        assert_eq!(bytes, table.bytes);
    }

    #[test]
    fn what_is_too_large_is_not_kept() {
        let (recall, now, a) = (Recall::default(), Instant::now(), repository("a"));
        recall.put(recall.begin(), &a, &manifest(&"x".repeat(BOUND / 4)), now);
        assert!(recall.0.lock().unwrap().manifests.is_empty());
    }
}
