//! [`Journal`]: which bytes of a staging file are there, on disk beside it.
//!
//! Lines of text, appended after the bytes they tell of: a process that is killed loses neither. A machine that stops may lose
//! bytes whose line it kept, so a journal from before the last boot counts only when its writer had said `synced`. A line that a
//! full disk or a death cut short does not end in [`WHOLE`], and the next one begins anew: it is passed over.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    ops::Range,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use crate::oci::Repository;

/// What tells one boot of the machine from another; without it, every journal is as from before.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// What a line ends in that was written to its end.
const WHOLE: char = '.';

#[derive(Debug)]
pub(super) struct Journal(File);

/// What of a blob is there already.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct There {
    /// The size of the whole, if it was known.
    pub size: Option<u64>,
    /// Which bytes: sorted and disjoint.
    pub extents: Vec<Range<u64>>,
}

/// What a journal says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) from: Repository,
    pub(super) there: There,
    /// whether the bytes are on the disk, as far as anybody can know
    pub(super) synced: bool,
}

impl Journal {
    /// Starts the journal of the staging file `path`, of which `there` is there.
    pub(super) fn open(path: &Path, from: &Repository, there: &There) -> io::Result<Self> {
        let (path, fresh) = (beside(path), beside(path).with_extension("new"));
        let mut text = format!("boot {}\nfrom {from}", boot());
        text.extend(there.size.map(size_line));
        text.extend(there.extents.iter().map(line));
        let mut options = OpenOptions::new();
        let mut file = options.append(true).create(true).mode(0o600).open(&fresh)?;
        file.set_len(0)?;
        file.write_all(text.as_bytes())?;
        fs::rename(fresh, path)?;
        Ok(Self(file))
    }

    /// More bytes are there.
    pub(super) fn there(&self, extent: Range<u64>) -> io::Result<()> {
        self.append(&line(&extent))
    }

    /// The whole has this size.
    pub(super) fn size(&self, size: u64) -> io::Result<()> {
        self.append(&size_line(size))
    }

    /// All bytes that are there are on the disk.
    pub(super) fn synced(&self) -> io::Result<()> {
        self.append(&whole("synced"))?;
        self.0.sync_data()
    }

    /// Writes a line at once or not at all: its rest must not come after a line of somebody else.
    fn append(&self, line: &str) -> io::Result<()> {
        match (&self.0).write(line.as_bytes())? {
            written if written == line.len() => Ok(()),
            _ => Err(io::ErrorKind::StorageFull.into()),
        }
    }
}

impl There {
    /// How long a file is that has all this.
    pub(super) fn end(&self) -> u64 {
        self.extents.last().map_or(0, |extent| extent.end)
    }
}

fn size_line(size: u64) -> String {
    whole(&format!("size {size}"))
}

fn line(extent: &Range<u64>) -> String {
    whole(&format!("{} {}", extent.start, extent.end))
}

fn whole(words: &str) -> String {
    format!("\n{words}{WHOLE}")
}

/// What the journal of the staging file `path` says; `None` when there is none that can be used.
pub(super) fn read(path: &Path) -> Option<Entry> {
    parse(&fs::read_to_string(beside(path)).ok()?, &boot())
}

pub(super) fn remove(path: &Path) {
    // one that stays is swept when the daemon starts
    let _ = fs::remove_file(beside(path));
}

fn parse(text: &str, boot: &str) -> Option<Entry> {
    let mut lines = text.lines();
    let same_boot = lines.next()?.strip_prefix("boot ")? == boot && !boot.is_empty();
    let from = lines.next()?.strip_prefix("from ")?.parse().ok()?;
    let (mut extents, mut size, mut synced) = (Vec::<Range<u64>>::new(), None, same_boot);
    for line in lines.filter_map(|line| line.strip_suffix(WHOLE)) {
        if let Some(number) = line.strip_prefix("size ") {
            size = Some(number.parse().ok()?);
            continue;
        }
        if line == "synced" {
            synced = true;
            continue;
        }
        let (start, end) = line.split_once(' ')?;
        let extent = start.parse().ok()?..end.parse().ok()?;
        // what came after is in doubt again
        synced &= same_boot;
        match extents.last_mut() {
            Some(last) if last.end == extent.start => last.end = extent.end,
            _ => extents.push(extent),
        }
    }
    extents.sort_unstable_by_key(|extent| extent.start);
    let mut merged = Vec::<Range<u64>>::new();
    for extent in extents {
        match merged.last_mut() {
            Some(last) if last.end >= extent.start => last.end = last.end.max(extent.end),
            _ => merged.push(extent),
        }
    }
    Some(Entry { from, there: There { size, extents: merged }, synced })
}

fn boot() -> String {
    fs::read_to_string(BOOT_ID).unwrap_or_default().trim().to_owned()
}

fn beside(path: &Path) -> PathBuf {
    path.with_extension("journal")
}

#[cfg(test)]
mod tests {
    use super::*;

    const FROM: &str = "boot a\nfrom registry.test/app";

    #[track_caller]
    fn check(lines: &str, boot: &str, want: Option<(&[Range<u64>], bool)>) {
        let entry = parse(&format!("{FROM}{lines}"), boot);
        assert_eq!(
            entry.map(|entry| (entry.there.extents, entry.synced)),
            want.map(|(e, s)| (e.to_vec(), s)),
            "{lines:?}"
        );
    }

    #[test]
    #[expect(clippy::single_range_in_vec_init, reason = "one extent is one range")]
    fn what_is_there_is_read_back() {
        check("", "a", Some((&[], true)));
        check("\n0 5.\n5 9.", "a", Some((&[0..9], true)));
        check("\n20 30.\n0 5.\n4 9.", "a", Some((&[0..9, 20..30], true)));
        check("\n0 5.\nrubbish.", "a", None);
    }

    #[test]
    #[expect(clippy::single_range_in_vec_init, reason = "one extent is one range")]
    fn a_line_that_was_cut_short_is_passed_over_wherever_it_was_cut() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("staging");
        for lost in [size_line(1234), line(&(100..345)), whole("synced")] {
            for cut in 0..lost.len() {
                let journal = Journal::open(&path, &"registry.test/app".parse().unwrap(), &There::default()).unwrap();
                journal.size(99).unwrap();
                (&journal.0).write_all(&lost.as_bytes()[..cut]).unwrap();
                // written when there was room again
                journal.there(20..30).unwrap();
                let there = read(&path).unwrap().there;
                assert_eq!(there, There { size: Some(99), extents: [20..30].into() }, "{cut} of {lost:?}");
                // and where the process died of it
                (&journal.0).write_all(&lost.as_bytes()[..cut]).unwrap();
                assert_eq!(read(&path).unwrap().there, there, "{cut} of {lost:?}");
            }
        }
    }

    #[test]
    #[expect(clippy::single_range_in_vec_init, reason = "one extent is one range")]
    fn after_another_boot_only_what_was_synced_counts() {
        check("\n0 5.", "b", Some((&[0..5], false)));
        check("\n0 5.\nsynced.", "b", Some((&[0..5], true)));
        check("\n0 5.\nsynced.\n5 9.", "b", Some((&[0..9], false)));
        check("\n0 5.", "", Some((&[0..5], false)));
    }

    #[test]
    fn a_journal_without_a_head_is_none() {
        for text in ["", "boot a\n", "boot a\nfrom\n", "0 5\n", "from registry.test/app\nboot a\n"] {
            assert_eq!(parse(text, "a"), None, "{text:?}");
        }
    }
}
