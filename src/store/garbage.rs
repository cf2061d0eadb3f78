//! Collecting what nobody can ask for any more.
//!
//! Content that no manifest refers to goes when nobody read it for an hour: a pull under way may be about to need it.

use std::{
    collections::HashSet,
    io,
    time::{Duration, SystemTime},
};

use super::{BlobStore, Removed, inventory::Catalog, records, walk};
use crate::oci::Digest;

/// Longer than a client takes between a manifest and its last layer.
const UNDER_WAY: Duration = Duration::from_hours(1);

impl BlobStore {
    /// Deletes records of what is gone, tags that point nowhere, content nothing refers to, and what is in quarantine; makes
    /// the index small and counts anew.
    pub fn collect_garbage(&self) -> io::Result<Removed> {
        let before = walk::taken_below(&self.inner().dir);
        let (catalog, manifests) = self.drop_dead_records()?;
        let mut removed = Removed { manifests, ..Removed::default() };
        for digest in self.unreferred(catalog) {
            removed.blobs += u64::from(self.evict(&digest, "nothing refers to it").is_some());
        }
        for file in self.quarantined() {
            std::fs::remove_file(self.quarantine_path(&file.digest))?;
        }
        self.recount();
        self.look_beside();
        removed.bytes = before.saturating_sub(walk::taken_below(&self.inner().dir));
        tracing::info!(
            manifests = removed.manifests,
            blobs = removed.blobs,
            bytes = removed.bytes,
            "garbage collected"
        );
        Ok(removed)
    }

    /// Deletes records of content and manifests that are gone, and tags that point to none. Returns what is left, and how
    /// many manifests went.
    pub(super) fn drop_dead_records(&self) -> io::Result<(Catalog, u64)> {
        let (mut catalog, mut dead, mut manifests) = (self.catalog(), Vec::new(), 0);
        catalog.manifests.retain(|(repository, digest), kept| {
            let is_here = self.table().contains(&kept.content);
            if !is_here {
                dead.push((records::manifest_key(repository, digest), Some(kept.content.clone())));
                manifests += 1;
            }
            is_here
        });
        for ((repository, tag), digests) in &catalog.tags {
            // the older ones behind them are of use only beside them
            let mut points = digests.iter().map(|digest| (repository.clone(), digest.clone()));
            if !points.any(|manifest| catalog.manifests.contains_key(&manifest)) {
                dead.push((records::tag_key(repository, tag), None));
            }
        }
        walk::records(&self.inner().dir, &mut |record| {
            let content = records::content_of(&record).filter(|(digest, _)| !self.table().contains(digest));
            dead.extend(content.map(|(digest, _)| (records::content_key(&digest), Some(digest))));
        });
        for (key, content) in dead {
            let changing = self.changing();
            // placed since: content goes in with its record, or before that of its manifest
            if !content.is_some_and(|content| self.table().contains(&content)) {
                self.remove_record(&changing, &key)?;
            }
        }
        Ok((catalog, manifests))
    }

    fn unreferred(&self, catalog: Catalog) -> Vec<Digest> {
        let mut referred = HashSet::new();
        for kept in catalog.manifests.into_values() {
            self.reach(kept.content, &mut referred);
        }
        let now = SystemTime::now();
        let is_quiet = |at: SystemTime| now.duration_since(at).is_ok_and(|age| age >= UNDER_WAY);
        let table = self.table();
        let unreferred = table.iter().filter(|(digest, held)| !referred.contains(*digest) && is_quiet(held.read_at));
        unreferred.map(|(digest, _)| digest.clone()).collect()
    }
}
