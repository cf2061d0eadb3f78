//! Keeping the folder within its limits: what was read least recently goes first.
//!
//! Works from the table of contents, never from a walk. Content that is open or pinned stays; bytes in flight lie elsewhere. What can be
//! done without goes before content: what is in quarantine, and downloads that nobody works on.

use std::{
    collections::BTreeMap,
    fs, io,
    sync::{PoisonError, atomic::Ordering},
    time::{Duration, Instant, SystemTime},
};

use tracing::{debug, info, warn};

use super::{BlobStore, beside::Beside, contents::Held, limits, limits::Quota, records, walk};
use crate::oci::{Digest, Registry};

/// How far below its bound a sweep brings the folder, so that sweeps are rare: a tenth.
const HEADROOM: u64 = 10;
/// The part of the bound that records and folders may take before a sweep looks for dead ones: a fifth.
const RECORDS: u64 = 5;
/// All records are read for it: once a day.
const RECORDS_SEEN: Duration = Duration::from_hours(24);
/// Content that turned out wrong is kept so long for whoever wants to know why.
const QUARANTINE: Duration = Duration::from_hours(24);
/// A download that nobody took up for so long is not worth its room.
const REST: Duration = Duration::from_hours(7 * 24);

/// What a sweep did.
#[derive(Debug, Default)]
struct Swept {
    freed: u64,
    objects: u64,
    why: Vec<&'static str>,
}

impl Swept {
    fn took(&mut self, freed: u64, why: &'static str) {
        self.freed += freed;
        self.objects += 1;
        if !self.why.contains(&why) {
            self.why.push(why);
        }
    }
}

impl BlobStore {
    /// Bytes of the disk that the whole folder takes.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.counted_bytes() + walk::taken_beside(&self.inner().dir)
    }

    /// Bytes of the disk that the folder may take.
    #[must_use]
    pub fn bound(&self) -> u64 {
        self.inner().bounds.max_size
    }

    /// Waits until there is more than there may be.
    pub async fn full(&self) {
        self.inner().full.notified().await;
    }

    /// What a sweep can make smaller: all but downloads under way.
    pub(super) fn held(&self) -> u64 {
        self.counted_bytes() + self.inner().beside.load(Ordering::Relaxed)
    }

    fn counted_bytes(&self) -> u64 {
        self.table().taken() + self.inner().tree.load(Ordering::Relaxed)
    }

    /// Looks at what lies beside content and index.
    pub(super) fn look_beside(&self) {
        let all = walk::taken_beside(&self.inner().dir);
        let under_way: u64 = self.staging_files().filter(|file| !file.rests).map(|file| file.taken).sum();
        self.inner().beside.store(all.saturating_sub(under_way), Ordering::Relaxed);
    }

    /// Does what is to be done now and then: heals the table if somebody deleted the folder, brings read times to the
    /// disk, deletes what there is too much of. Returns how many bytes went.
    pub fn sweep(&self) -> io::Result<u64> {
        let mut records_seen = self.inner().sweeping.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.inner().dir.join(walk::CONTENT).exists() && self.table().len() > 0 {
            warn!("somebody deleted the content of the cache folder; it fills again");
            self.recount();
        }
        self.flush();
        self.look_beside();
        let mut swept = Swept::default();
        self.drop_old(&mut swept);
        self.drop_unread(&mut swept);
        for (quota, taken) in self.over_quota() {
            let goal = quota.max_size.get() - quota.max_size.get() / HEADROOM;
            let is_of = |from: &Registry| self.inner().bounds.quotas.of(from).as_ref() == Some(&quota);
            let is_meant = |held: &Held| held.from.as_deref().is_some_and(is_of);
            let need = taken.saturating_sub(goal);
            self.drop_contents(&mut swept, "least recently read, over its registry's max_size", (need, goal), is_meant);
        }
        let bounds = &self.inner().bounds;
        // content takes its own record along; manifests and tags that point nowhere would gather for ever
        let is_much = self.inner().tree.load(Ordering::Relaxed) > bounds.max_size / RECORDS;
        if is_much && records_seen.is_none_or(|seen| seen.elapsed() >= RECORDS_SEEN) {
            *records_seen = Some(Instant::now());
            // what the index costs must not keep the disk full
            if let Err(error) = self.drop_dead_records() {
                warn!(%error, "records of what is gone could not be deleted");
            }
        }
        let goal = bounds.max_size - bounds.max_size / HEADROOM;
        if self.held() > bounds.max_size {
            self.free_up(&mut swept, "least recently read, over max_size", self.held() - goal, goal);
        }
        let free = limits::free(&self.inner().dir)?;
        if free < bounds.min_free {
            let need = bounds.min_free - free + bounds.min_free / HEADROOM;
            self.free_up(&mut swept, "least recently read, less than min_free left on the disk", need, u64::MAX);
        }
        if swept.objects > 0 {
            let Swept { freed, objects, why } = &swept;
            let why = why.join("; ");
            info!(freed, objects, why, used = self.used(), bound = bounds.max_size, "cache swept");
        }
        Ok(swept.freed)
    }

    /// Makes room for `bytes` on a disk that is full, by deleting what was read least recently, even when the folder is
    /// within its limits. Returns how much was freed.
    pub fn make_room(&self, bytes: u64) -> io::Result<u64> {
        let _one_at_a_time = self.inner().sweeping.lock().unwrap_or_else(PoisonError::into_inner);
        let mut swept = Swept::default();
        self.free_up(&mut swept, "least recently read, the disk is full", bytes, u64::MAX);
        info!(wanted = bytes, freed = swept.freed, objects = swept.objects, "the disk is full: cache swept");
        Ok(swept.freed)
    }

    /// Frees so many bytes if it can. What is larger than `fits` can never stay, and goes first: it would empty the cache.
    fn free_up(&self, swept: &mut Swept, why: &'static str, need: u64, fits: u64) {
        let goal = swept.freed + need;
        for file in self.quarantined() {
            if swept.freed >= goal {
                return;
            }
            self.drop_quarantined(swept, &file, why);
        }
        let mut resting: Vec<_> = self.staging_files().filter(|file| file.rests).collect();
        resting.sort_by_key(|file| file.changed_at);
        for file in resting {
            if swept.freed >= goal {
                return;
            }
            self.drop_resting(swept, &file, why);
        }
        self.look_beside();
        self.drop_contents(swept, why, (goal.saturating_sub(swept.freed), fits), |_| true);
    }

    fn drop_contents(
        &self,
        swept: &mut Swept,
        why: &'static str,
        (mut need, fits): (u64, u64),
        is_meant: impl Fn(&Held) -> bool,
    ) {
        let mut candidates: Vec<(bool, SystemTime, u64, Digest)> = {
            let table = self.table();
            let candidates = table.iter().filter(|(digest, held)| is_meant(held) && !table.pinned.contains(*digest));
            candidates.map(|(digest, held)| (held.taken <= fits, held.read_at, held.taken, digest.clone())).collect()
        };
        candidates.sort_unstable();
        let before = swept.freed;
        for (does_fit, _, taken, digest) in candidates {
            if swept.freed - before >= need {
                return;
            }
            match self.evict(&digest, why) {
                Some(freed) => swept.took(freed, why),
                // it goes with the next sweep; until then the others do not pay for it
                None if !does_fit => need = need.saturating_sub(taken),
                None => {}
            }
        }
    }

    /// What nobody read for longer than it is kept.
    fn drop_unread(&self, swept: &mut Swept) {
        const WHY: &str = "not read for max_age";
        let max_age = self.inner().bounds.max_age;
        let now = SystemTime::now();
        let is_old = |held: &Held| now.duration_since(held.read_at).is_ok_and(|age| age >= max_age);
        if !max_age.is_zero() {
            self.drop_contents(swept, WHY, (u64::MAX, u64::MAX), is_old);
        }
    }

    /// What is not wanted any more, whatever room there is.
    fn drop_old(&self, swept: &mut Swept) {
        let is_older = |at: SystemTime, than| at.elapsed().is_ok_and(|age| age >= than);
        for file in self.quarantined().iter().filter(|file| is_older(file.changed_at, QUARANTINE)) {
            self.drop_quarantined(swept, file, "a day in quarantine");
        }
        for file in self.staging_files().filter(|file| file.rests && is_older(file.changed_at, REST)) {
            self.drop_resting(swept, &file, "a download nobody took up for a week");
        }
    }

    fn drop_resting(&self, swept: &mut Swept, file: &Beside, why: &'static str) {
        self.drop_partial(&file.digest);
        debug!(digest = %file.digest, why, "a download that rested was deleted");
        swept.took(file.taken, why);
    }

    fn drop_quarantined(&self, swept: &mut Swept, file: &Beside, why: &'static str) {
        match fs::remove_file(self.quarantine_path(&file.digest)) {
            Ok(()) => swept.took(file.taken, why),
            Err(error) => warn!(digest = %file.digest, %error, "content in quarantine could not be deleted"),
        }
    }

    /// Deletes one content unless it is open or pinned. What is in flight is no content yet, and lies elsewhere. Returns
    /// what that freed.
    pub(super) fn evict(&self, digest: &Digest, why: &'static str) -> Option<u64> {
        let path = self.path(digest);
        let changing = self.changing();
        let tree = self.inner().tree.load(Ordering::Relaxed);
        let held = {
            let mut table = self.table();
            // whoever opens it after this finds no entry
            if self.inner().leases.is_taken(digest) || table.pinned.contains(digest) {
                return None;
            }
            table.remove(digest)?
        };
        // out of the way at once, deleted when nobody waits
        let away = self.inner().dir.join("tmp").join(digest.hex());
        let moved = self.counted(&changing, path.parent().unwrap_or(&path), || {
            let moved = fs::rename(&path, &away).or_else(|_| fs::remove_file(&path));
            records::prune(&path);
            moved
        });
        if let Err(error) = moved
            && error.kind() != io::ErrorKind::NotFound
        {
            warn!(path = %path.display(), %error, "content could not be deleted");
            self.table().insert(digest, held);
            return None;
        }
        self.remove_content_record(&changing, digest);
        let records = tree.saturating_sub(self.inner().tree.load(Ordering::Relaxed));
        drop(changing);
        // what stays in tmp/ is deleted at the next start
        let _ = fs::remove_file(away);
        debug!(%digest, size = held.size, why, "content was deleted");
        Some(held.taken + records)
    }

    /// The quotas that are passed, and what is taken of them.
    pub(super) fn over_quota(&self) -> Vec<(Quota, u64)> {
        let mut groups = BTreeMap::<Quota, u64>::new();
        for (registry, taken) in self.table().registries() {
            if let Some(quota) = self.inner().bounds.quotas.of(registry) {
                *groups.entry(quota).or_default() += taken;
            }
        }
        groups.into_iter().filter(|(quota, taken)| *taken > quota.max_size.get()).collect()
    }
}
