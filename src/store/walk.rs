//! One walk over the cache folder: what lies there, and what it takes of the disk.
//!
//! A folder that cannot be read is passed over and told of; nothing is deleted but what compaction makes needless.

use std::{
    fs::{self, DirEntry, Metadata},
    io,
    os::unix::fs::MetadataExt as _,
    path::Path,
    time::SystemTime,
};

use super::{
    index::{self, Record},
    writer::BLOCK,
};
use crate::oci::Digest;

/// The folder of finished content.
pub(super) const CONTENT: &str = "content-v2";

/// Finished content as its file tells.
#[derive(Debug)]
pub(super) struct File {
    pub(super) digest: Digest,
    pub(super) size: u64,
    pub(super) taken: u64,
    pub(super) read_at: SystemTime,
    pub(super) changed_at: SystemTime,
}

/// What a walk found.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) files: Vec<File>,
    /// bytes of the disk that the folders of content, and the index, take
    pub(super) tree: u64,
    /// whether a part could not be read
    pub(super) is_partial: bool,
}

impl Found {
    fn passed_over(&mut self, path: &Path, error: &io::Error) {
        tracing::warn!(path = %path.display(), %error, "a part of the cache folder cannot be read and is passed over");
        self.is_partial = true;
    }
}

/// Looks at content and index of the folder `dir`, and shows every record to `see`.
pub(super) fn walk(dir: &Path, see: &mut dyn FnMut(Record)) -> Found {
    let mut found = Found::default();
    found.tree += below(&dir.join(CONTENT), &|path| path.file_name().is_none_or(|name| name != "sha256"));
    each_leaf(&dir.join(CONTENT).join("sha256"), &mut found, &mut |found, [first, second, file], metadata| {
        match content(first, second, file, metadata) {
            Some(content) => found.files.push(content),
            // a file whose path spells no digest is not ours
            None => found.tree += metadata.blocks() * BLOCK,
        }
    });
    each_leaf(&dir.join(index::FOLDER), &mut found, &mut |found, [first, second, file], metadata| {
        let path = file.path();
        if !index::is_bucket(first, second, file) {
            found.tree += metadata.blocks() * BLOCK;
            return;
        }
        match index::read_and_compact(&path) {
            Ok(record) => record.into_iter().for_each(&mut *see),
            Err(error) => found.passed_over(&path, &error),
        }
        // after it may have become smaller
        found.tree += taken(&path);
    });
    found
}

/// Shows every record of the folder `dir` to `see`.
pub(super) fn records(dir: &Path, see: &mut dyn FnMut(Record)) {
    let mut found = Found::default();
    each_leaf(&dir.join(index::FOLDER), &mut found, &mut |found, [first, second, file], _| {
        if index::is_bucket(first, second, file) {
            match index::read_and_compact(&file.path()) {
                Ok(record) => record.into_iter().for_each(&mut *see),
                Err(error) => found.passed_over(&file.path(), &error),
            }
        }
    });
}

type Leaf<'a> = dyn FnMut(&mut Found, [&DirEntry; 3], &Metadata) + 'a;

/// Visits what lies two folders deep, and counts the folders.
fn each_leaf(top: &Path, found: &mut Found, visit: &mut Leaf<'_>) {
    found.tree += taken(top);
    for first in entries(top, found) {
        found.tree += taken(&first.path());
        for second in entries(&first.path(), found) {
            found.tree += taken(&second.path());
            for file in entries(&second.path(), found) {
                match file.metadata() {
                    Ok(metadata) => visit(found, [&first, &second, &file], &metadata),
                    // gone since the folder was read
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => found.passed_over(&file.path(), &error),
                }
            }
        }
    }
}

fn entries(dir: &Path, found: &mut Found) -> Vec<DirEntry> {
    match fs::read_dir(dir) {
        Ok(entries) => entries.flatten().collect(),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Vec::new(),
        Err(error) => {
            found.passed_over(dir, &error);
            Vec::new()
        }
    }
}

fn content(first: &DirEntry, second: &DirEntry, file: &DirEntry, metadata: &Metadata) -> Option<File> {
    let names = [first, second, file].map(|entry| entry.file_name().to_string_lossy().into_owned());
    let digest = format!("sha256:{}", names.concat()).parse().ok().filter(|_| metadata.is_file())?;
    let (read_at, changed_at) = (metadata.accessed().ok()?, metadata.modified().ok()?);
    Some(File { digest, size: metadata.len(), taken: metadata.blocks() * BLOCK, read_at, changed_at })
}

/// Bytes of the disk that one file or folder takes; none if it is not there.
pub(super) fn taken(path: &Path) -> u64 {
    fs::symlink_metadata(path).map(|metadata| metadata.blocks() * BLOCK).unwrap_or_default()
}

/// Bytes of the disk that a file or folder takes with all below it, as `du` counts them.
pub(super) fn taken_below(path: &Path) -> u64 {
    below(path, &|_| true)
}

/// The same without content and index, which are counted as they change: few files, so this is cheap.
pub(super) fn taken_beside(dir: &Path) -> u64 {
    let counted = [dir.join(CONTENT), dir.join(index::FOLDER)];
    below(dir, &|path| !counted.iter().any(|counted| counted == path))
}

fn below(path: &Path, counts: &dyn Fn(&Path) -> bool) -> u64 {
    let mut sum = 0;
    let mut open = vec![path.to_owned()];
    while let Some(path) = open.pop() {
        sum += taken(&path);
        for entry in fs::read_dir(path).into_iter().flatten().flatten() {
            let path = entry.path();
            match entry.file_type() {
                _ if !counts(&path) => {}
                Ok(kind) if kind.is_dir() => open.push(path),
                _ => sum += taken(&path),
            }
        }
    }
    sum
}
