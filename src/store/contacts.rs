//! [`Contacts`]: when upstream last spoke of a manifest or a tag, kept across restarts.
//!
//! To the second in memory, to the hour on disk: a line is added when the last one has become so old. What is lost costs
//! one question more, so nothing here is synced, and a file that cannot be written is only not written.

use std::{
    collections::HashMap,
    fs::{self, OpenOptions},
    io::{self, Write as _},
    path::PathBuf,
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::BlobStore;

const FILE: &str = "contacts";
/// How old a line on disk becomes before the next one is written: the daily question needs it no better.
const APART: u64 = 60 * 60;
/// When to ask again, in seconds, if a question came to nothing.
const AGAIN: u64 = 60 * 60;
/// What was not spoken of for so long is forgotten.
const LONGEST: u64 = 90 * 24 * 60 * 60;
/// So many are worth remembering.
const MOST: usize = 50_000;
/// So many lines more than there are contacts, and the file is written anew.
const SPARE_LINES: usize = 10_000;

/// When upstream last spoke of what a key names.
#[derive(Debug)]
pub struct Contacts {
    path: PathBuf,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    contacts: HashMap<Box<str>, Contact>,
    lines: usize,
}

/// Seconds since the epoch.
#[derive(Clone, Copy, Debug, Default)]
struct Contact {
    /// 0 when it never spoke
    last: u64,
    written: u64,
    /// when it was asked last, whatever came of that
    asked: u64,
}

impl BlobStore {
    /// What was remembered before this daemon started. A file that cannot be read is as good as none.
    #[must_use]
    pub fn contacts(&self) -> Contacts {
        let path = self.inner().dir.join(FILE);
        let text = fs::read_to_string(&path).unwrap_or_default();
        let mut known = Known { lines: text.lines().count(), ..Known::default() };
        for (seconds, key) in text.lines().filter_map(|line| line.split_once(' ')) {
            if let Ok(seconds) = seconds.parse() {
                known.contacts.insert(key.into(), Contact { last: seconds, written: seconds, asked: 0 });
            }
        }
        Contacts { path, known: Mutex::new(known) }
    }
}

impl Contacts {
    /// How long ago, by `now`, upstream spoke of `key`; `None` when that is not known.
    #[must_use]
    pub fn since(&self, key: &str, now: SystemTime) -> Option<Duration> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let contact = known.contacts.get(key).filter(|contact| contact.last > 0)?;
        Some(Duration::from_secs(seconds(now).saturating_sub(contact.last)))
    }

    /// Upstream spoke of `key` at `now`. Whether this is to be [written](Self::write).
    #[must_use]
    pub fn record(&self, key: &str, now: SystemTime) -> bool {
        let now = seconds(now);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let contact = known.contact(key);
        contact.last = now;
        contact.written == 0 || now.saturating_sub(contact.written) >= APART
    }

    /// Whether upstream has not spoken of `key` for `after`, by `now`. Who is told so asks upstream: nobody else is told, for
    /// an hour or for `after`, as if that came to nothing.
    #[must_use]
    pub fn is_due(&self, key: &str, after: Duration, now: SystemTime) -> bool {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (now, after) = (seconds(now), after.as_secs().max(1));
        let Contact { last, asked, .. } = known.contacts.get(key).copied().unwrap_or_default();
        let is_due = now.saturating_sub(last) >= after && now.saturating_sub(asked) >= after.min(AGAIN);
        if is_due {
            known.contact(key).asked = now;
        }
        is_due
    }

    /// Writes what is known of `key`. Blocks.
    pub fn write(&self, key: &str) -> io::Result<()> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(contact) = known.contacts.get_mut(key).filter(|contact| contact.last > 0) else {
            return Ok(());
        };
        contact.written = contact.last;
        let line = format!("{} {key}\n", contact.last);
        known.lines += 1;
        if known.lines > known.contacts.len() + SPARE_LINES {
            return self.rewrite(&mut known);
        }
        let mut options = OpenOptions::new();
        options.append(true).create(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options.open(&self.path)?.write_all(line.as_bytes())
    }

    fn rewrite(&self, known: &mut Known) -> io::Result<()> {
        let newest = known.contacts.values().map(|contact| contact.last).max().unwrap_or_default();
        known.contacts.retain(|_, contact| newest.saturating_sub(contact.last.max(contact.asked)) < LONGEST);
        known.lines = known.contacts.len();
        let folder = self.path.parent().ok_or_else(|| io::Error::other("a file without a folder"))?;
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        for (key, contact) in known.contacts.iter().filter(|(_, contact)| contact.last > 0) {
            writeln!(file, "{} {key}", contact.last)?;
        }
        file.persist(&self.path)?;
        Ok(())
    }
}

impl Known {
    fn contact(&mut self, key: &str) -> &mut Contact {
        if self.contacts.len() >= MOST && !self.contacts.contains_key(key) {
            self.contacts.clear();
        }
        self.contacts.entry(key.into()).or_default()
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Limits;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn what_was_written_outlasts_the_daemon() {
        let dir = tempfile::tempdir().unwrap();
        let open = || BlobStore::open(dir.path(), Limits::default()).unwrap().contacts();
        let contacts = open();
        assert_eq!(contacts.since("a b", at(100)), None);
        assert!(contacts.record("a b", at(100)));
        contacts.write("a b").unwrap();
        assert_eq!(contacts.since("a b", at(107)), Some(Duration::from_secs(7)));
        assert_eq!(open().since("a b", at(110)), Some(Duration::from_secs(10)));
        // within the hour the disk is left alone, memory is exact
        assert!(!contacts.record("a b", at(100 + APART - 1)));
        assert_eq!(contacts.since("a b", at(100 + APART)), Some(Duration::from_secs(1)));
        assert!(contacts.record("a b", at(100 + APART)));
    }

    #[test]
    fn the_file_stays_as_small_as_what_is_known() {
        let dir = tempfile::tempdir().unwrap();
        let contacts = BlobStore::open(dir.path(), Limits::default()).unwrap().contacts();
        for number in 0..=SPARE_LINES as u64 + 1 {
            let _ = contacts.record("one", at(number * APART));
            contacts.known.lock().unwrap().lines += 1;
        }
        contacts.write("one").unwrap();
        assert_eq!(fs::read_to_string(dir.path().join(FILE)).unwrap().lines().count(), 1);
    }

    #[test]
    fn one_of_many_is_told_that_it_is_due() {
        let dir = tempfile::tempdir().unwrap();
        let contacts = BlobStore::open(dir.path(), Limits::default()).unwrap().contacts();
        let due = |now| contacts.is_due("one", Duration::from_secs(20), at(now));
        assert_eq!([due(100), due(100), due(119), due(120), due(120)], [true, false, false, true, false]);
    }

    #[test]
    fn what_came_to_nothing_is_due_again_in_an_hour_and_is_no_word_of_upstream() {
        let dir = tempfile::tempdir().unwrap();
        let open = || BlobStore::open(dir.path(), Limits::default()).unwrap().contacts();
        let (contacts, day, start) = (open(), Duration::from_hours(24), 1_000_000);
        let due = |now| contacts.is_due("one", day, at(now));
        assert!(due(start));
        contacts.write("one").unwrap();
        assert_eq!((contacts.since("one", at(start)), open().since("one", at(start))), (None, None));
        assert_eq!([due(start + AGAIN - 1), due(start + AGAIN), due(start + AGAIN + 1)], [false, true, false]);
        assert!(contacts.record("one", at(start + AGAIN)));
        assert_eq!([due(start + 86_399), due(start + AGAIN + 86_400)], [false, true]);
    }

    #[test]
    fn a_damaged_file_is_as_good_as_none() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE), "\n 7\nx y\n5 good key\n\u{0}").unwrap();
        let contacts = BlobStore::open(dir.path(), Limits::default()).unwrap().contacts();
        assert_eq!(contacts.since("good key", at(6)), Some(Duration::from_secs(1)));
        assert_eq!(contacts.known.lock().unwrap().contacts.len(), 1);
    }
}
