//! Laying out and locking the cache folder.
//!
//! Nothing that is already there is converted or deleted, except what a dead daemon left in `staging/` and `tmp/`.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read as _, Seek as _, Write as _},
    path::Path,
    process,
};

use super::OpenError;

const VERSION: &str = "1";
/// The signature is fixed by the Cache Directory Tagging Specification.
const TAG: &str = "Signature: 8a477f597d28d172789f06886806bc55\n# A cache of container images made by longshore.\n";

/// Makes the folder if need be and takes it; the lock is held as long as the file lives.
pub(super) fn take(dir: &Path) -> Result<File, OpenError> {
    create_private(dir).map_err(|source| io_error(dir, source))?;
    let lock = lock(dir)?;
    version(dir)?;
    let tag = dir.join("CACHEDIR.TAG");
    fs::write(&tag, TAG).map_err(|source| io_error(&tag, source))?;
    let tmp = dir.join("tmp");
    clear(&tmp).map_err(|source| io_error(&tmp, source))?;
    let staging = dir.join("staging");
    super::partials::clean(&staging).map_err(|source| io_error(&staging, source))?;
    for folder in [dir.join("content-v2").join("sha256"), dir.join("quarantine")] {
        fs::create_dir_all(&folder).map_err(|source| io_error(&folder, source))?;
    }
    Ok(lock)
}

fn lock(dir: &Path) -> Result<File, OpenError> {
    let path = dir.join("lock");
    let failed = |source| io_error(&path, source);
    let mut file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            file.read_to_string(&mut holder).map_err(failed)?;
            let holder = if holder.trim().is_empty() { "another process" } else { holder.trim() }.to_owned();
            return Err(OpenError::InUse { dir: dir.to_owned(), holder });
        }
        Err(TryLockError::Error(source)) => return Err(failed(source)),
    }
    file.set_len(0).map_err(failed)?;
    file.rewind().map_err(failed)?;
    writeln!(file, "process {}", process::id()).map_err(failed)?;
    Ok(file)
}

fn version(dir: &Path) -> Result<(), OpenError> {
    let path = dir.join("VERSION");
    match fs::read_to_string(&path) {
        Ok(found) if found.trim() == VERSION => Ok(()),
        // an empty file is one that a full disk or a power cut kept from being written
        Ok(found) if !found.trim().is_empty() => {
            let found = found.trim().to_owned();
            Err(OpenError::Version { dir: dir.to_owned(), found, known: VERSION })
        }
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(io_error(&path, source)),
        _ => fs::write(&path, format!("{VERSION}\n")).map_err(|source| io_error(&path, source)),
    }
}

fn clear(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::create_dir_all(path)
}

/// Makes a folder that only its owner can enter: private images lie in it.
pub(super) fn create_private(dir: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)
}

/// Makes what a file says, or a rename in a folder, outlast a power cut.
pub(super) fn sync(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

pub(super) fn io_error(path: &Path, source: io::Error) -> OpenError {
    OpenError::Io { path: path.to_owned(), source }
}
