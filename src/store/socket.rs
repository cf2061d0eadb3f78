//! The control socket in the cache folder: who holds the folder listens there, who wants something of it connects.
//!
//! Carries no meaning: what is said over it is `server::control`'s business.

use std::{
    fs, io,
    os::unix::{
        fs::{FileTypeExt as _, PermissionsExt as _, symlink},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
};

use super::BlobStore;

const NAME: &str = "control.sock";
/// What fits an address of a socket on every system (`sun_path` has 104 bytes on macOS, 108 on Linux, the last is zero).
const LONGEST: usize = 103;

/// The listening end; the socket goes with it.
#[derive(Debug)]
pub struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl BlobStore {
    /// Makes the control socket. One that a dead daemon left is replaced: the folder's lock says that it is dead.
    pub fn control_socket(&self) -> io::Result<ControlSocket> {
        let dir = &self.inner().dir;
        let path = dir.join(NAME);
        match fs::symlink_metadata(&path) {
            Ok(found) if found.file_type().is_socket() => fs::remove_file(&path)?,
            _ => {}
        }
        let listener = at_short_path(dir, |path| UnixListener::bind(path))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        Ok(ControlSocket { listener, path })
    }
}

impl ControlSocket {
    /// Where questions come in, for a runtime that does not block.
    pub fn listener(&mut self) -> io::Result<UnixListener> {
        self.listener.set_nonblocking(true)?;
        self.listener.try_clone()
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        // one that stays is replaced by the next daemon
        let _ = fs::remove_file(&self.path);
    }
}

/// Connects to who holds the cache folder `dir`; `None` when nobody listens there.
pub fn control_connect(dir: &Path) -> io::Result<Option<UnixStream>> {
    match at_short_path(dir, |path| UnixStream::connect(path)) {
        Ok(stream) => Ok(Some(stream)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Calls with the socket's path, or with one that leads there and is short enough: through a link in a folder of our own.
fn at_short_path<T>(dir: &Path, call: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    let path = dir.join(NAME);
    if path.as_os_str().len() <= LONGEST {
        return call(&path);
    }
    let private = tempfile::Builder::new().prefix("longshore-").tempdir()?;
    let link = private.path().join("cache");
    symlink(std::path::absolute(dir)?, &link)?;
    let short = link.join(NAME);
    if short.as_os_str().len() > LONGEST {
        let words = format!(
            "{} is too long for a socket, and so is {}; set TMPDIR to a shorter one",
            path.display(),
            short.display()
        );
        return Err(io::Error::new(io::ErrorKind::InvalidFilename, words));
    }
    call(&short)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_private_found_replaced_and_removed_however_long_its_path() {
        let dir = tempfile::tempdir().unwrap();
        for length in [1, 80, 200] {
            let dir = dir.path().join("d".repeat(length));
            assert!(control_connect(&dir).unwrap().is_none());
            let store = BlobStore::open(&dir, None).unwrap();
            assert!(control_connect(&dir).unwrap().is_none());
            let socket = store.control_socket().unwrap();
            assert!(control_connect(&dir).unwrap().is_some());
            let path = dir.join(NAME);
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            drop(socket);
            assert!(!path.exists());
        }
    }

    #[test]
    fn a_socket_nobody_listens_on_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let store = BlobStore::open(dir.path(), None).unwrap();
        drop(UnixListener::bind(dir.path().join(NAME)).unwrap());
        assert!(dir.path().join(NAME).exists() && control_connect(dir.path()).unwrap().is_none());
        let _socket = store.control_socket().unwrap();
        assert!(control_connect(dir.path()).unwrap().is_some());
    }
}
