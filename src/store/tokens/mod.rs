//! [`TokenStore`]: authorization tokens on disk, shared by the credential helper and the daemon.
//!
//! One file for each entry, found by its name: a `get` reads that file and never the folder. Files are written beside and
//! renamed, so a reader sees a whole entry or none. What another user owns, can read or could have written is refused,
//! never mended. An entry that cannot be understood, for whatever reason, is no entry: its token is minted anew.
//!
//! # What each protection is good for
//! | protection | keeps tokens from | does not keep them from |
//! | --- | --- | --- |
//! | file | other users of the machine | root, backups, whoever gets the disk or a mount of the home |
//! | encrypted file | the above, and backups or mounts that hold the folder but not the key file | root, the own user |
//! | keyring | the above, and the disk after a restart: the key is never on it (Linux), or behind the login (macOS) | root, the own user's programs |
//! | memory | everything but the daemon's own memory | root; and the helper mints each time |
//!
//! No protection keeps a token from the programs of its own user: they could mint one as well.

mod file;
mod key;
mod keyring;
mod lock;
mod prune;
mod record;
mod seal;

use std::{
    fs::File,
    io, mem,
    path::{Path, PathBuf},
    time::SystemTime,
};

use crate::{config::TokenProtection, secret::Secret};

pub use key::TokenKey;
pub use lock::Keeper;

use record::{Record, Token};
use seal::SealingKey;

/// The tokens of this user. Making one touches nothing; cheap to clone.
#[derive(Clone, Debug)]
pub struct TokenStore {
    dir: PathBuf,
    protection: Protection,
}

#[derive(Clone, Debug)]
enum Protection {
    /// Nothing is kept, nothing is touched.
    Nothing,
    File,
    EncryptedFile(PathBuf),
    Keyring,
}

/// A token and what is known about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Base64 of `user:password`; empty in a listing.
    pub secret: Secret,
    /// When it was minted.
    pub minted_at: SystemTime,
    /// From when on a newer one is wished for.
    pub refresh_at: SystemTime,
    /// When it is over.
    pub expires_at: SystemTime,
    /// What it is for, in words for people; kept in the clear.
    pub about: String,
}

/// Why an entry cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenStoreError {
    /// The folder is in the hands of others, or is none: nothing of it is used, so a token can be minted all the same.
    #[error("token store {} {problem}", path.display())]
    Folder {
        /// Which folder.
        path: PathBuf,
        /// What is wrong with it, and what to do about it.
        problem: &'static str,
    },
    /// Others could read or could have written a file.
    #[error("{} {problem}; {remedy}", path.display())]
    Exposed {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
        /// What to do about it.
        remedy: String,
    },
    /// The key file of the configuration is not one.
    #[error("token_key_file {}", path.display())]
    KeyFile {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: io::Error,
    },
    /// The system's keyring does not take or give the key of the tokens.
    #[error("the system's keyring refuses the key of the tokens; choose another token_store")]
    Keyring(#[source] keyring_core::Error),
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

impl TokenStore {
    /// The store in the cache folder `cache_dir`, protected as configured.
    #[must_use]
    pub fn new(cache_dir: &Path, protection: &TokenProtection) -> Self {
        let protection = match protection {
            TokenProtection::File => Protection::File,
            TokenProtection::EncryptedFile(path) => Protection::EncryptedFile(path.clone()),
            TokenProtection::Keyring => Protection::Keyring,
            TokenProtection::Memory => Protection::Nothing,
        };
        Self { dir: cache_dir.join("tokens"), protection }
    }

    /// Whether anything is kept here.
    #[must_use]
    pub fn keeps(&self) -> bool {
        !matches!(self.protection, Protection::Nothing)
    }

    /// The folder of tokens, which need not exist.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Why nothing can be kept although it should be: the folder is in the hands of others, or cannot be looked at.
    #[must_use]
    pub fn trouble(&self) -> Option<TokenStoreError> {
        if self.keeps() { file::is_ours_alone(&self.dir).err() } else { None }
    }

    /// What is kept under `key`, expired or not; `None` when there is nothing that can be understood.
    pub fn get(&self, key: &TokenKey) -> Result<Option<Entry>, TokenStoreError> {
        if matches!(self.protection, Protection::Nothing) {
            return Ok(None);
        }
        // before the entry: a key file that is none is said at once, not when the first token is kept
        let from_file = match &self.protection {
            Protection::EncryptedFile(path) => Some(seal::from_file(path)?),
            _ => None,
        };
        let Some(mut record) = file::read(&self.dir, key)? else { return Ok(None) };
        let secret = match (&self.protection, &mut record.token, &record.sealed) {
            (Protection::File, Some(text), None) => Some(Secret::new(mem::take(text))),
            (Protection::EncryptedFile(_), None, Some(sealed)) => {
                from_file.and_then(|sealing_key| sealing_key.open(key, sealed))
            }
            (Protection::Keyring, None, Some(sealed)) => {
                let sealing_key = keyring::key_of(sealed).map_err(TokenStoreError::Keyring)?;
                sealing_key.and_then(|sealing_key| sealing_key.open(key, sealed))
            }
            // kept under another protection
            _ => None,
        };
        Ok(secret.and_then(|secret| record.entry(secret, SystemTime::now())))
    }

    /// Keeps an entry, in place of what was under `key`. Now and then this drops what is over.
    pub fn put(&self, key: &TokenKey, entry: &Entry) -> Result<(), TokenStoreError> {
        if matches!(self.protection, Protection::Nothing) {
            return Ok(());
        }
        file::prepare(&self.dir)?;
        let token = match self.sealing_key()? {
            Some(sealing_key) => Token::Sealed(sealing_key.seal(key, &entry.secret).map_err(|source| self.io(source))?),
            None => Token::Plain(entry.secret.clone()),
        };
        file::replace(&self.dir, key, &Record::new(entry, token))?;
        prune::prune_seldom(&self.dir, key, SystemTime::now());
        Ok(())
    }

    /// Forgets what is kept under `key`; that it was not there is fine.
    pub fn remove(&self, key: &TokenKey) -> Result<(), TokenStoreError> {
        if matches!(self.protection, Protection::Nothing) { Ok(()) } else { file::remove(&self.dir, key) }
    }

    /// Forgets everything that is kept; returns how many entries there were.
    pub fn clear(&self) -> Result<usize, TokenStoreError> {
        if matches!(self.protection, Protection::Nothing) {
            return Ok(0);
        }
        let keys = file::keys(&self.dir)?;
        for key in &keys {
            file::remove(&self.dir, key)?;
        }
        Ok(keys.len())
    }

    /// What is kept and not over, ordered by key, without the secrets: no key and no keyring is asked.
    pub fn list(&self) -> Result<Vec<(TokenKey, Entry)>, TokenStoreError> {
        if matches!(self.protection, Protection::Nothing) {
            return Ok(Vec::new());
        }
        let now = SystemTime::now();
        let mut found = Vec::new();
        for key in file::keys(&self.dir)? {
            let record = file::read(&self.dir, &key)?;
            let entry = record.and_then(|record| record.into_bare_entry(now));
            found.extend(entry.filter(|entry| entry.expires_at > now).map(|entry| (key, entry)));
        }
        found.sort_by(|(one, _), (other, _)| one.as_str().cmp(other.as_str()));
        Ok(found)
    }

    /// Takes the lock of an entry; waits for whoever has it. It is given back when the file is dropped, or its process
    /// dies. A store that keeps nothing has nothing to lock, and never waits.
    pub fn lock(&self, key: &TokenKey) -> Result<File, TokenStoreError> {
        if matches!(self.protection, Protection::Nothing) {
            let path = PathBuf::from("/dev/null");
            return File::open(&path).map_err(|source| TokenStoreError::Io { path, source });
        }
        file::prepare(&self.dir)?;
        lock::wait(&self.dir.join(format!("{key}.lock")))
    }

    /// Undertakes to renew an entry in time, until the [`Keeper`] is dropped. `None` when somebody else has, or nothing can
    /// be kept.
    #[must_use]
    pub fn keep(&self, key: &TokenKey) -> Option<Keeper> {
        if matches!(self.protection, Protection::Nothing) || file::prepare(&self.dir).is_err() {
            return None;
        }
        lock::keep(&self.keep_path(key))
    }

    /// Whether somebody renews this entry in time. Makes no file.
    #[must_use]
    pub fn is_kept(&self, key: &TokenKey) -> bool {
        !matches!(self.protection, Protection::Nothing) && lock::is_kept(&self.keep_path(key))
    }

    fn keep_path(&self, key: &TokenKey) -> PathBuf {
        self.dir.join(format!("{key}.keep"))
    }

    /// What new entries are sealed with; `None` when they are kept in the clear.
    fn sealing_key(&self) -> Result<Option<SealingKey>, TokenStoreError> {
        match &self.protection {
            Protection::EncryptedFile(path) => seal::from_file(path).map(Some),
            Protection::Keyring => keyring::current(&self.dir).map(Some),
            Protection::File | Protection::Nothing => Ok(None),
        }
    }

    fn io(&self, source: io::Error) -> TokenStoreError {
        TokenStoreError::Io { path: self.dir.clone(), source }
    }
}

#[cfg(test)]
mod tests;
