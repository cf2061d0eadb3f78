//! Collecting what nobody can ask for any more.
//!
//! Content that no manifest refers to goes when nobody read it for an hour: a pull under way may be about to need it.

use std::{
    collections::HashSet,
    io,
    time::{Duration, SystemTime},
};

use super::{
    BlobStore, Removed,
    inventory::Catalog,
    records, walk,
};
use crate::oci::Digest;

/// Longer than a client takes between a manifest and its last layer.
const UNDER_WAY: Duration = Duration::from_hours(1);

impl BlobStore {
    /// Deletes records of what is gone, tags that point nowhere, content nothing refers to, and what is in quarantine; makes
    /// the index small and counts anew.
    pub fn collect_garbage(&self) -> io::Result<Removed> {
        let before = walk::taken_below(&self.inner().dir);
        let mut removed = Removed::default();
        let mut catalog = self.catalog();
        self.drop_dead_records(&mut catalog, &mut removed)?;
        for digest in self.unreferred(catalog) {
            removed.blobs += u64::from(self.evict(&digest, "nothing refers to it").is_some());
        }
        for file in self.quarantined() {
            std::fs::remove_file(self.quarantine_path(&file.digest))?;
        }
        self.recount();
        self.look_beside();
        removed.bytes = before.saturating_sub(walk::taken_below(&self.inner().dir));
        tracing::info!(manifests = removed.manifests, blobs = removed.blobs, bytes = removed.bytes, "garbage collected");
        Ok(removed)
    }

    fn drop_dead_records(&self, catalog: &mut Catalog, removed: &mut Removed) -> io::Result<()> {
        let mut dead = Vec::new();
        catalog.manifests.retain(|(repository, digest), _| {
            let is_here = self.table().contains(digest);
            if !is_here {
                dead.push(records::manifest_key(repository, digest));
                removed.manifests += 1;
            }
            is_here
        });
        for ((repository, tag), digests) in &catalog.tags {
            // the older ones behind them are of use only beside them
            let mut points = digests.iter().map(|digest| (repository.clone(), digest.clone()));
            if !points.any(|manifest| catalog.manifests.contains_key(&manifest)) {
                dead.push(records::tag_key(repository, tag));
            }
        }
        walk::records(&self.inner().dir, &mut |record| {
            let content = records::content_of(&record).filter(|(digest, _)| !self.table().contains(digest));
            dead.extend(content.map(|(digest, _)| records::content_key(&digest)));
        });
        for key in dead {
            let changing = self.changing();
            // placed since: content and its record go in under the same lock
            let is_alive = key.strip_prefix("content ").and_then(|digest| digest.parse().ok());
            if !is_alive.is_some_and(|digest: Digest| self.table().contains(&digest)) {
                self.remove_record(&changing, &key)?;
            }
        }
        Ok(())
    }

    fn unreferred(&self, catalog: Catalog) -> Vec<Digest> {
        let mut referred = HashSet::new();
        catalog.manifests.into_keys().for_each(|(_, digest)| self.reach(digest, &mut referred));
        let now = SystemTime::now();
        let is_quiet = |at: SystemTime| now.duration_since(at).is_ok_and(|age| age >= UNDER_WAY);
        let table = self.table();
        let unreferred = table.iter().filter(|(digest, held)| !referred.contains(*digest) && is_quiet(held.read_at));
        unreferred.map(|(digest, _)| digest.clone()).collect()
    }
}
