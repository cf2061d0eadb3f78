//! [`Contents`]: the table of finished content, in memory: what is there, how large, when read, from where.
//!
//! Built from the folder when the store is opened and kept exact on every change. Holds no file and knows no path.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use crate::oci::{Digest, Registry};

/// Who asks for content again so soon after all of it was sent may have found it wrong: docker and containerd do so
/// when their own check of the digest failed.
const SOON: Duration = Duration::from_mins(10);
/// Content that was verified so lately is not read again for a second question: it is only popular.
const LATELY: Duration = Duration::from_hours(1);
/// A second of hashing. Nobody waits longer for what a crash may have broken; the scrub comes by.
const WAITED_FOR: u64 = 1 << 30;
/// A blink. Who asks again is mostly the next of many, not one that found it wrong, and does not wait longer.
const WAITED_FOR_IF_ASKED_AGAIN: u64 = 64 << 20;

/// What is known of one content.
#[derive(Clone, Debug)]
pub(super) struct Held {
    /// The size it was verified with.
    pub(super) size: u64,
    /// Bytes of the disk.
    pub(super) taken: u64,
    pub(super) read_at: SystemTime,
    /// When its bytes last agreed with its digest; long ago if that is in doubt.
    pub(super) verified_at: SystemTime,
    /// The time of change its file had then: another one tells of a change that was not ours.
    pub(super) changed_at: SystemTime,
    /// The registry it was fetched from, if that was recorded.
    pub(super) from: Option<Arc<Registry>>,
    /// Whether `read_at` is newer than what the disk knows.
    pub(super) is_read_since: bool,
}

/// Whether content has to be verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doubt {
    None,
    /// Before it is served.
    Now,
    /// While it is served.
    Meanwhile,
}

impl Held {
    /// Content is in doubt when its file was changed at another time than by us, when a daemon died since it came, or when it
    /// is asked for again right after it was read (see [`SOON`]). `is_only` is whether nobody else reads it now.
    pub(super) fn doubt(&self, changed_at: SystemTime, is_only: bool, now: SystemTime) -> Doubt {
        let is_within = |at: SystemTime, limit| now.duration_since(at).is_ok_and(|age| age < limit);
        let is_asked_again = is_only && is_within(self.read_at, SOON) && !is_within(self.verified_at, LATELY);
        let waited_for = match (self.is_from_a_crash(), is_asked_again) {
            _ if changed_at != self.changed_at => return Doubt::Now,
            (true, _) => WAITED_FOR,
            (false, true) => WAITED_FOR_IF_ASKED_AGAIN,
            (false, false) => return Doubt::None,
        };
        if self.size <= waited_for { Doubt::Now } else { Doubt::Meanwhile }
    }

    /// Whether it was not verified since a daemon died.
    pub(super) fn is_from_a_crash(&self) -> bool {
        self.verified_at == SystemTime::UNIX_EPOCH
    }
}

/// The table of contents.
#[derive(Debug, Default)]
pub(super) struct Contents(Mutex<Table>);

#[derive(Debug, Default)]
pub(super) struct Table {
    held: HashMap<Digest, Held>,
    /// bytes of the disk, of all
    taken: u64,
    /// of that, what came from each registry
    registries: HashMap<Arc<Registry>, u64>,
    /// what no sweep may take, whether it is here or not
    pub(super) pinned: HashSet<Digest>,
    /// how often content, or a record of what a repository has, was taken away
    pub(super) losses: u64,
}

impl Contents {
    pub(super) fn new(table: Table) -> Self {
        Self(Mutex::new(table))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    pub(super) fn get(&self, digest: &Digest) -> Option<&Held> {
        self.held.get(digest)
    }

    #[cfg(test)]
    pub(super) fn get_mut(&mut self, digest: &Digest) -> Option<&mut Held> {
        self.held.get_mut(digest)
    }

    pub(super) fn contains(&self, digest: &Digest) -> bool {
        self.held.contains_key(digest)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Digest, &Held)> {
        self.held.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (&Digest, &mut Held)> {
        self.held.iter_mut()
    }

    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    /// Bytes of the disk that all of it takes.
    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    /// Bytes of the disk by registry.
    pub(super) fn registries(&self) -> impl Iterator<Item = (&Registry, u64)> {
        self.registries.iter().map(|(registry, taken)| (&**registry, *taken))
    }

    pub(super) fn insert(&mut self, digest: &Digest, mut held: Held) {
        self.remove(digest);
        self.taken += held.taken;
        if let Some(from) = &mut held.from {
            // one name for all that came from there
            if let Some((known, _)) = self.registries.get_key_value(from) {
                *from = Arc::clone(known);
            }
            *self.registries.entry(Arc::clone(from)).or_default() += held.taken;
        }
        self.held.insert(digest.clone(), held);
    }

    pub(super) fn remove(&mut self, digest: &Digest) -> Option<Held> {
        let held = self.held.remove(digest)?;
        self.losses += 1;
        self.taken -= held.taken;
        if let Some(from) = &held.from
            && let Some(taken) = self.registries.get_mut(from)
        {
            *taken -= held.taken;
            if *taken == 0 {
                self.registries.remove(from);
            }
        }
        Some(held)
    }

    /// Marks content as read now, and returns what was known of it before.
    pub(super) fn read(&mut self, digest: &Digest, now: SystemTime) -> Option<Held> {
        let held = self.held.get_mut(digest)?;
        let before = held.clone();
        held.read_at = now;
        held.is_read_since = true;
        Some(before)
    }

    /// The content was found to be what its name says.
    pub(super) fn verified(&mut self, digest: &Digest, at: SystemTime, changed_at: SystemTime) {
        if let Some(held) = self.held.get_mut(digest) {
            held.verified_at = at;
            held.changed_at = changed_at;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(taken: u64, from: &str) -> Held {
        let at = SystemTime::UNIX_EPOCH;
        let from = Some(Arc::new(from.parse().unwrap()));
        Held { size: taken, taken, read_at: at, verified_at: at, changed_at: at, from, is_read_since: false }
    }

    #[test]
    fn content_is_doubted_for_a_reason_only() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_hours(1000);
        let hours_ago = SystemTime::UNIX_EPOCH + Duration::from_hours(900);
        let old = Held { read_at: now, verified_at: hours_ago, ..held(10, "a.test") };
        let changed_at = old.changed_at;
        assert_eq!(old.doubt(now, true, now), Doubt::Now, "somebody changed the file");
        assert_eq!(old.doubt(changed_at, true, now), Doubt::Now, "asked for again at once");
        assert_eq!(old.doubt(changed_at, false, now), Doubt::None, "others read it at the same time");
        assert_eq!(old.doubt(changed_at, true, now + SOON), Doubt::None, "the last reader was content");
        let verified = Held { verified_at: now, ..old.clone() };
        assert_eq!(verified.doubt(changed_at, true, now), Doubt::None, "it was verified just now");
        let crashed = Held { verified_at: SystemTime::UNIX_EPOCH, read_at: hours_ago, ..old.clone() };
        assert_eq!(crashed.doubt(changed_at, false, now), Doubt::Now, "what died may not have written all");
        let large = Held { size: WAITED_FOR, ..crashed };
        assert_eq!(large.doubt(changed_at, true, now), Doubt::Now, "that is worth a second");
        let larger = Held { size: 10 * WAITED_FOR, ..large };
        assert_eq!(larger.doubt(changed_at, true, now), Doubt::Meanwhile, "nobody waits for so much");
        let popular = Held { size: 200 << 20, ..old };
        assert_eq!(popular.doubt(changed_at, true, now), Doubt::Meanwhile, "the next of many does not wait");
        assert_eq!(popular.doubt(now, true, now), Doubt::Now, "somebody changed the file, however large");
    }

    #[test]
    fn the_sums_are_those_of_what_is_there() {
        let (one, other) = (Digest::of(b"1"), Digest::of(b"2"));
        let mut table = Table::default();
        table.insert(&one, held(10, "a.test"));
        table.insert(&other, held(5, "a.test"));
        table.insert(&other, held(7, "b.test"));
        let mut registries: Vec<_> = table.registries().map(|(name, taken)| (name.to_string(), taken)).collect();
        registries.sort();
        assert_eq!((table.taken(), registries), (17, vec![("a.test".into(), 10), ("b.test".into(), 7)]));
        assert!(table.remove(&one).is_some() && table.remove(&one).is_none());
        assert_eq!((table.taken(), table.registries().count(), table.len()), (7, 1, 1));
    }
}
