//! [`Recall`]: manifests that were read and verified lately, in memory.
//!
//! Bounded in bytes and in time: what is older goes through the store again, which checks the bytes. When the store has lost
//! anything since, nothing from before is recalled. Keyed by repository: that one repository has a manifest says nothing of another.

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

#[derive(Debug, Default)]
struct Table {
    manifests: HashMap<Digest, Vec<Entry>>,
    /// in the order they came; one that was asked for since gets a second round
    round: VecDeque<(Digest, u64)>,
    bytes: usize,
    next: u64,
}

#[derive(Debug)]
struct Entry {
    repository: Repository,
    manifest: Manifest,
    read: Instant,
    /// what the store had lost when it was read
    losses: u64,
    number: u64,
    was_asked: bool,
}

impl Recall {
    /// A manifest that `repository` has, if it was read lately, when the store had had the same `losses`.
    pub(super) fn get(&self, repository: &Repository, digest: &Digest, losses: u64, now: Instant) -> Option<Manifest> {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entries = table.manifests.get_mut(digest)?;
        let entry = entries.iter_mut().find(|entry| entry.repository == *repository)?;
        if now.saturating_duration_since(entry.read) >= BELIEVED || entry.losses != losses {
            return None;
        }
        entry.was_asked = true;
        Some(entry.manifest.clone())
    }

    /// Keeps what the store had; `losses` are those from before it was read.
    pub(super) fn put(&self, repository: &Repository, manifest: &Manifest, losses: u64, now: Instant) {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let table = &mut *table;
        let (digest, cost) = (&manifest.descriptor.digest, cost(manifest));
        if cost > BOUND / 4 {
            return;
        }
        let entries = table.manifests.entry(digest.clone()).or_default();
        if let Some(entry) = entries.iter_mut().find(|entry| entry.repository == *repository) {
            (entry.manifest, entry.losses, entry.read) = (manifest.clone(), losses, now);
            return;
        }
        table.next += 1;
        let (repository, manifest, number) = (repository.clone(), manifest.clone(), table.next);
        table.round.push_back((digest.clone(), number));
        entries.push(Entry { repository, manifest, read: now, losses, number, was_asked: false });
        table.bytes += cost;
        while table.bytes > BOUND && table.drop_one() {}
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
        recall.put(&a, &one, 0, now);
        assert_eq!(recall.get(&a, digest, 0, now).unwrap().bytes, one.bytes);
        assert!(recall.get(&b, digest, 0, now).is_none());
        assert!(recall.get(&a, digest, 0, now + BELIEVED).is_none());
        recall.put(&a, &one, 0, now + BELIEVED);
        assert!(recall.get(&a, digest, 0, now + BELIEVED).is_some());
        assert_eq!(recall.0.lock().unwrap().round.len(), 1);
    }

    #[test]
    fn nothing_from_before_a_loss_is_recalled() {
        let (recall, now, one) = (Recall::default(), Instant::now(), manifest("one"));
        let (a, digest) = (repository("a"), &one.descriptor.digest);
        recall.put(&a, &one, 7, now);
        assert!(recall.get(&a, digest, 8, now).is_none());
        recall.put(&a, &one, 8, now);
        assert!(recall.get(&a, digest, 8, now).is_some());
    }

    #[test]
    fn memory_is_bounded_and_what_is_asked_for_stays() {
        let (recall, now, a) = (Recall::default(), Instant::now(), repository("a"));
        let wanted = manifest("wanted");
        recall.put(&a, &wanted, 0, now);
        for number in 0..3000 {
            assert!(recall.get(&a, &wanted.descriptor.digest, 0, now).is_some());
            recall.put(&a, &manifest(&format!("{number:020000}")), 0, now);
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
        recall.put(&a, &manifest(&"x".repeat(BOUND / 4)), 0, now);
        assert!(recall.0.lock().unwrap().manifests.is_empty());
    }
}
