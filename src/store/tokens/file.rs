//! The folder of entries: reading and replacing one, and what is refused.
//!
//! Never reads what others could have written, never writes what others could read, and never mends permissions that let
//! others write: what lies there may be theirs.

use std::{
    fs::{self, File, Metadata, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use rustix::fs::OFlags;
use zeroize::Zeroizing;

use super::{TokenKey, TokenStoreError, record::Record};
use crate::store::folder;

/// What is longer is no entry: a token has 3 kB at most, words for people much less.
const LONGEST: u64 = 64 * 1024;
/// The extension of entries.
pub(super) const EXTENSION: &str = "json";
/// What begins so is being written, or was when its writer died.
pub(super) const UNFINISHED: &str = ".new-";

/// The record under `key`; `None` when there is none or it is not understood.
pub(super) fn read(dir: &Path, key: &TokenKey) -> Result<Option<Record>, TokenStoreError> {
    if !is_ours_alone(dir)? {
        return Ok(None);
    }
    let path = path(dir, key);
    let file = match options().read(true).open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        // a link is no entry, wherever it leads
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => return Ok(None),
        Err(source) => return Err(TokenStoreError::Io { path, source }),
    };
    let metadata = file.metadata().map_err(|source| TokenStoreError::Io { path: path.clone(), source })?;
    if !metadata.is_file() {
        return Ok(None);
    }
    check_private(&path, &metadata, || {
        format!("delete it, and keep the folder to yourself with: chmod 700 {}", dir.display())
    })?;
    if metadata.len() > LONGEST {
        return Ok(None);
    }
    let text = read_all(file, metadata.len()).map_err(|source| TokenStoreError::Io { path, source })?;
    Ok(Record::parse(&text))
}

/// Puts the record under `key`, whole or not at all. The folder is there.
pub(super) fn replace(dir: &Path, key: &TokenKey, record: &Record) -> Result<(), TokenStoreError> {
    let path = path(dir, key);
    let replaced = record.text().map_err(io::Error::from).and_then(|text| write(dir, &path, &text));
    replaced.map_err(|source| TokenStoreError::Io { path, source })
}

/// Writes `text` beside `path`, which is in `dir`, and puts it there.
pub(super) fn write(dir: &Path, path: &Path, text: &[u8]) -> io::Result<()> {
    // made 0600 by tempfile
    let mut file = tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(dir)?;
    file.write_all(text)?;
    file.as_file().sync_data()?;
    file.persist(path)?;
    folder::sync(dir)
}

pub(super) fn remove(dir: &Path, key: &TokenKey) -> Result<(), TokenStoreError> {
    let path = path(dir, key);
    match fs::remove_file(&path) {
        // a path through something that is no folder has no entry either
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(()),
        Err(source) => Err(TokenStoreError::Io { path, source }),
        Ok(()) => Ok(()),
    }
}

/// The keys under which there are files, in no order.
pub(super) fn keys(dir: &Path) -> Result<Vec<TokenKey>, TokenStoreError> {
    if !is_ours_alone(dir)? {
        return Ok(Vec::new());
    }
    let failed = |source| TokenStoreError::Io { path: dir.to_owned(), source };
    let mut keys = Vec::new();
    for file in fs::read_dir(dir).map_err(failed)? {
        let name = file.map_err(failed)?.file_name();
        keys.extend(name.to_str().and_then(|name| TokenKey::from_file_name(name, EXTENSION)));
    }
    Ok(keys)
}

/// Makes the folder, for this user alone, unless it is there; refuses one that others can write to.
pub(super) fn prepare(dir: &Path) -> Result<(), TokenStoreError> {
    let failed = |source| TokenStoreError::Io { path: dir.to_owned(), source };
    if !is_ours_alone(dir)? {
        folder::create_private(dir).map_err(failed)?;
        is_ours_alone(dir)?;
    }
    let is_open = fs::symlink_metadata(dir).map_err(failed)?.mode() & 0o077 != 0;
    if !is_open {
        return Ok(());
    }
    // nobody else could write, so what lies there is ours; the names are nobody's business
    let folder = options().read(true).open(dir).map_err(failed)?;
    folder.set_permissions(fs::Permissions::from_mode(0o700)).map_err(failed)
}

/// How files of the folder are opened: never through a link, never waiting for who has the other end of a pipe.
pub(super) fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed());
    options
}

/// Refuses what belongs to another user or can be read by one.
pub(super) fn check_private(
    path: &Path,
    metadata: &Metadata,
    remedy: impl FnOnce() -> String,
) -> Result<(), TokenStoreError> {
    let problem = if metadata.uid() != rustix::process::geteuid().as_raw() {
        "belongs to another user"
    } else if metadata.mode() & 0o077 != 0 {
        "can be read by other users"
    } else {
        return Ok(());
    };
    Err(TokenStoreError::Exposed { path: path.to_owned(), problem, remedy: remedy() })
}

/// At most as many bytes as the file had when it was looked at: entries are replaced, never written again.
pub(super) fn read_all(file: File, length: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    // room for one more, or reading to the end would move the text and leave a copy
    let mut text = Zeroizing::new(Vec::with_capacity(usize::try_from(length).unwrap_or_default() + 1));
    file.take(length).read_to_end(&mut text)?;
    Ok(text)
}

fn path(dir: &Path, key: &TokenKey) -> PathBuf {
    dir.join(format!("{key}.{EXTENSION}"))
}

/// Whether the folder is there; an error when others could have put something into it, or it is somewhere else.
pub(super) fn is_ours_alone(dir: &Path) -> Result<bool, TokenStoreError> {
    let metadata = match fs::symlink_metadata(dir) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(source) => return Err(TokenStoreError::Io { path: dir.to_owned(), source }),
    };
    let problem = if metadata.is_symlink() {
        "is a link and is not used; delete it, or name the folder it leads to with AWS_ECR_CACHE_DIR"
    } else if metadata.uid() != rustix::process::geteuid().as_raw() {
        "belongs to another user and is not used; delete it, or name a folder of your own with AWS_ECR_CACHE_DIR"
    } else if metadata.mode() & 0o022 != 0 {
        "can be written to by other users and is not used; delete it, it holds nothing but a cache"
    } else {
        return Ok(true);
    };
    Err(TokenStoreError::Folder { path: dir.to_owned(), problem })
}
