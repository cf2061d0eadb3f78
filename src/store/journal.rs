//! [`Journal`]: which bytes of a staging file are there, on disk beside it.
//!
//! Lines of text, appended after the bytes they tell of: a process that is killed loses neither. A machine that stops may lose
//! bytes whose line it kept, so a journal from before the last boot counts only when its writer had said `synced`.

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
        let mut text = format!("boot {}\nfrom {from}\n", boot());
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
        (&self.0).write_all(line(&extent).as_bytes())
    }

    /// The whole has this size.
    pub(super) fn size(&self, size: u64) -> io::Result<()> {
        (&self.0).write_all(size_line(size).as_bytes())
    }

    /// All bytes that are there are on the disk.
    pub(super) fn synced(&self) -> io::Result<()> {
        (&self.0).write_all(b"synced\n")?;
        self.0.sync_data()
    }
}

impl There {
    /// How long a file is that has all this.
    pub(super) fn end(&self) -> u64 {
        self.extents.last().map_or(0, |extent| extent.end)
    }
}

fn size_line(size: u64) -> String {
    format!("size {size}\n")
}

fn line(extent: &Range<u64>) -> String {
    format!("{} {}\n", extent.start, extent.end)
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
    // a line without its end was being written when the process died
    let whole = &text[..=text.rfind('\n')?];
    let mut lines = whole.lines();
    let same_boot = lines.next()?.strip_prefix("boot ")? == boot && !boot.is_empty();
    let from = lines.next()?.strip_prefix("from ")?.parse().ok()?;
    let (mut extents, mut size, mut synced) = (Vec::<Range<u64>>::new(), None, same_boot);
    for line in lines {
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

    const FROM: &str = "boot a\nfrom registry.test/app\n";

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
        check("0 5\n5 9\n", "a", Some((&[0..9], true)));
        check("20 30\n0 5\n4 9\n", "a", Some((&[0..9, 20..30], true)));
        check("0 5\n5 9", "a", Some((&[0..5], true)));
        check("0 5\nrubbish\n", "a", None);
    }

    #[test]
    #[expect(clippy::single_range_in_vec_init, reason = "one extent is one range")]
    fn after_another_boot_only_what_was_synced_counts() {
        check("0 5\n", "b", Some((&[0..5], false)));
        check("0 5\nsynced\n", "b", Some((&[0..5], true)));
        check("0 5\nsynced\n5 9\n", "b", Some((&[0..9], false)));
        check("0 5\n", "", Some((&[0..5], false)));
    }

    #[test]
    fn a_journal_without_a_head_is_none() {
        for text in ["", "boot a\n", "boot a\nfrom\n", "0 5\n", "from registry.test/app\nboot a\n"] {
            assert_eq!(parse(text, "a"), None, "{text:?}");
        }
    }
}
