//! The buckets of cacache's index: one file for each key, which cacache only ever appends to.
//!
//! What cacache cannot do is done here: remove a record for good, compact its file, walk all of them without a panic. A line
//! that is damaged is passed over, a file that is none of ours is left alone.

use std::{
    fs::{self, DirEntry},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use serde::Deserialize;
use serde_json::Value;

use crate::oci::Digest;

/// The folder of the index.
pub(super) const FOLDER: &str = "index-v5";
/// The hex digits of a key's hash that are not in the names of folders.
const REST: usize = 36;

/// The last word on a key.
#[derive(Debug, Deserialize)]
pub(super) struct Record {
    pub(super) key: String,
    /// nothing when the key was deleted
    integrity: Option<String>,
    pub(super) size: u64,
    pub(super) metadata: Value,
}

/// The file of a key: cacache's own place, which a test compares.
pub(super) fn bucket(dir: &Path, key: &str) -> PathBuf {
    let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, key.as_bytes());
    let mut hex = String::new();
    for byte in hash.as_ref() {
        use std::fmt::Write as _;
        write!(hex, "{byte:02x}").expect("writing to a String cannot fail");
    }
    dir.join(FOLDER).join(&hex[..2]).join(&hex[2..4]).join(&hex[4..])
}

/// The last line of a bucket that is whole, and what it says.
fn last_word(text: &[u8]) -> Option<(&str, Record)> {
    text.rsplit(|byte| *byte == b'\n').find_map(|line| {
        let line = std::str::from_utf8(line).ok()?;
        let (hash, said) = line.split_once('\t')?;
        if Digest::of(said.as_bytes()).hex() != hash {
            return None;
        }
        Some((line, serde_json::from_str(said).ok()?))
    })
}

/// Reads one bucket; makes it small if its dead lines outweigh the live one, and deletes it if its key is deleted.
pub(super) fn read_and_compact(path: &Path) -> io::Result<Option<Record>> {
    let text = fs::read(path)?;
    let Some((line, record)) = last_word(&text) else { return Ok(None) };
    if record.integrity.is_none() {
        // a record that stays deleted costs room, nothing else
        let _ = fs::remove_file(path);
        return Ok(None);
    }
    let live = line.len() + 1;
    if text.len() - live.min(text.len()) > live {
        let kept = rewrite(path, line);
        if let Err(error) = kept {
            tracing::debug!(path = %path.display(), %error, "a record could not be compacted");
        }
    }
    Ok(Some(record))
}

fn rewrite(path: &Path, line: &str) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let mut fresh = tempfile::NamedTempFile::new_in(folder)?;
    fresh.write_all(b"\n")?;
    fresh.write_all(line.as_bytes())?;
    fresh.persist(path).map(drop).map_err(io::Error::from)
}

/// Whether `first/second/file` is where a bucket may lie.
pub(super) fn is_bucket(first: &DirEntry, second: &DirEntry, file: &DirEntry) -> bool {
    let is_hex = |entry: &DirEntry, length: usize| {
        let name = entry.file_name();
        let name = name.as_encoded_bytes();
        name.len() == length && name.iter().all(u8::is_ascii_hexdigit)
    };
    is_hex(first, 2) && is_hex(second, 2) && is_hex(file, REST)
}

#[cfg(test)]
mod tests {
    use cacache::{WriteOpts, index};

    use super::*;

    fn put(dir: &Path, key: &str, size: usize) {
        let integrity = cacache::Integrity::from_hex(Digest::of(b"x").hex(), cacache::Algorithm::Sha256).unwrap();
        index::insert(dir, key, WriteOpts::new().integrity(integrity).size(size)).unwrap();
    }

    #[test]
    fn a_bucket_lies_where_cacache_puts_it_and_stays_readable_when_it_was_compacted() {
        let dir = tempfile::tempdir().unwrap();
        for size in 0..10 {
            put(dir.path(), "a key", size);
        }
        let path = bucket(dir.path(), "a key");
        let before = fs::metadata(&path).unwrap().len();
        let record = read_and_compact(&path).unwrap().unwrap();
        assert_eq!((record.key.as_str(), record.size), ("a key", 9));
        assert!(fs::metadata(&path).unwrap().len() * 5 < before);
        assert_eq!(index::find(dir.path(), "a key").unwrap().unwrap().size, 9);
        put(dir.path(), "a key", 10);
        assert_eq!(index::find(dir.path(), "a key").unwrap().unwrap().size, 10);
        index::delete(dir.path(), "a key").unwrap();
        assert!(read_and_compact(&path).unwrap().is_none() && !path.exists());
    }

    #[test]
    fn damaged_lines_are_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        put(dir.path(), "a key", 1);
        let path = bucket(dir.path(), "a key");
        let mut text = fs::read(&path).unwrap();
        text.extend(b"\n\xff\xfe\tx\n1234\t{\"key\"\n\t\n\n");
        fs::write(&path, &text).unwrap();
        assert_eq!(read_and_compact(&path).unwrap().unwrap().size, 1);
        fs::write(&path, b"\nrubbish").unwrap();
        assert!(read_and_compact(&path).unwrap().is_none() && path.exists());
    }
}
