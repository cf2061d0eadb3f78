//! [`TokenStore`]: authorization tokens on disk, shared by the credential helper and the daemon.
//!
//! One file for each entry, 0600 in a 0700 folder: written beside and renamed, so a reader sees a whole entry or none.
//! What another user owns or can read is refused. The lock of an entry is held while its token is minted, so that many
//! processes mint once.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

use super::folder;
use crate::{oci::Digest, secret::Secret};

/// Entries are swept this long after their last change: no token lives longer than 12 hours.
const LONGEST_LIFE: Duration = Duration::from_hours(13);

/// The folder of tokens. Making one touches nothing.
#[derive(Clone, Debug)]
pub struct TokenStore {
    dir: PathBuf,
}

/// Names an entry: a digest of the identity and scope a token is for, so file names tell nothing.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TokenKey(String);

impl TokenKey {
    /// The key for what `identity` describes.
    #[must_use]
    pub fn new(identity: &str) -> Self {
        Self(Digest::of(identity.as_bytes()).hex().to_owned())
    }
}

/// Why an entry cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenStoreError {
    /// Others could read or could have written the file.
    #[error("{} {problem}; delete it, and keep the folder to yourself with: chmod 700 {}", path.display(), dir.display())]
    Exposed {
        /// Which file.
        path: PathBuf,
        /// The folder it lies in.
        dir: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The system refused something.
    #[error("token store {}", path.display())]
    Io {
        /// Which file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

#[derive(Serialize, Deserialize)]
struct Entry {
    /// seconds since 1970
    expires_at: u64,
    /// base64 of `user:password`
    token: String,
}

impl TokenStore {
    /// The store in the cache folder `cache_dir`.
    #[must_use]
    pub fn new(cache_dir: &Path) -> Self {
        Self { dir: cache_dir.join("tokens") }
    }

    /// The token kept under `key` and when it expires; `None` when there is none or it is garbage.
    pub fn get(&self, key: &TokenKey) -> Result<Option<(Secret, SystemTime)>, TokenStoreError> {
        let path = self.path(key, "json");
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(TokenStoreError::Io { path, source }),
        };
        let metadata = file.metadata().map_err(|source| TokenStoreError::Io { path: path.clone(), source })?;
        self.check(&path, &metadata)?;
        let Ok(entry) = serde_json::from_reader::<_, Entry>(io::BufReader::new(file)) else {
            return Ok(None);
        };
        let token = Secret::new(entry.token);
        Ok(UNIX_EPOCH.checked_add(Duration::from_secs(entry.expires_at)).map(|expires_at| (token, expires_at)))
    }

    /// Keeps a token, and drops entries that are long over.
    pub fn put(&self, key: &TokenKey, token: &Secret, expires_at: SystemTime) -> Result<(), TokenStoreError> {
        let path = self.path(key, "json");
        let expires_at = expires_at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let entry = Entry { expires_at, token: token.expose().to_owned() };
        self.replace(&path, &entry).map_err(|source| TokenStoreError::Io { path, source })?;
        self.sweep();
        Ok(())
    }

    /// Forgets a token.
    pub fn remove(&self, key: &TokenKey) -> Result<(), TokenStoreError> {
        let path = self.path(key, "json");
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(TokenStoreError::Io { path, source }),
            _ => Ok(()),
        }
    }

    /// Takes the lock of an entry; waits for whoever has it. It is given back when the file is dropped, or its process dies.
    pub fn lock(&self, key: &TokenKey) -> Result<File, TokenStoreError> {
        let path = self.path(key, "lock");
        let locked = || {
            folder::create_private(&self.dir)?;
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(false);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            let file = options.open(&path)?;
            file.lock()?;
            Ok(file)
        };
        locked().map_err(|source| TokenStoreError::Io { path: path.clone(), source })
    }

    fn path(&self, key: &TokenKey, extension: &str) -> PathBuf {
        self.dir.join(&key.0).with_extension(extension)
    }

    #[cfg(unix)]
    fn check(&self, path: &Path, metadata: &fs::Metadata) -> Result<(), TokenStoreError> {
        use std::os::unix::fs::MetadataExt as _;
        let exposed = |problem| Err(TokenStoreError::Exposed { path: path.to_owned(), dir: self.dir.clone(), problem });
        if metadata.uid() != rustix::process::geteuid().as_raw() {
            return exposed("belongs to another user");
        }
        if metadata.mode() & 0o077 != 0 {
            return exposed("can be read by other users");
        }
        Ok(())
    }

    fn replace(&self, path: &Path, entry: &Entry) -> io::Result<()> {
        folder::create_private(&self.dir)?;
        #[cfg(unix)]
        fs::set_permissions(&self.dir, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
        // made 0600 by tempfile
        let mut file = tempfile::Builder::new().prefix(".new-").tempfile_in(&self.dir)?;
        let text = zeroize::Zeroizing::new(serde_json::to_vec(entry)?);
        file.write_all(&text)?;
        file.as_file().sync_data()?;
        file.persist(path)?;
        folder::sync(&self.dir)
    }

    /// Best effort: what cannot be deleted now is tried again after the next mint.
    fn sweep(&self) {
        let Ok(entries) = fs::read_dir(&self.dir) else { return };
        for entry in entries.flatten() {
            // a lock file may be held, and deleting it would let a second one in
            if entry.path().extension().is_some_and(|end| end == "lock") {
                continue;
            }
            let age = entry.metadata().and_then(|metadata| metadata.modified()).map(|time| time.elapsed());
            if matches!(age, Ok(Ok(age)) if age > LONGEST_LIFE) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}
