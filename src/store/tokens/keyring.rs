//! The key of the tokens in the system's keyring: the kernel's on Linux, the login keychain on macOS.
//!
//! One small key for all entries and never the tokens themselves: Linux grants a user 20,000 bytes of keys, which are six
//! tokens, and macOS may ask for each item. Which key is in use stands in a file; the key itself is never on disk.
//!
//! On Linux the key is linked to the session's keyring and to the user's persistent one, through which every process of
//! the user finds it, whatever session it is of. A kernel without persistent keyrings keeps it to one session. It is gone
//! after a restart, or when nobody asked for three days; then tokens are minted anew.

use std::{io::Read as _, path::Path, sync::Arc};

use keyring_core::{Entry, Error, api::CredentialStoreApi};
use zeroize::Zeroizing;

use super::{
    TokenStoreError, file,
    record::Sealed,
    seal::{LENGTH, SealingKey, random},
};

const SERVICE: &str = "longshore";
/// Names the key that new entries are sealed with.
const POINTER: &str = "keyring-key";

/// The key an entry was sealed with; `None` when the keyring has it no more.
pub(super) fn key_of(sealed: &Sealed) -> Result<Option<SealingKey>, Error> {
    if is_name(&sealed.key) { find(&sealed.key) } else { Ok(None) }
}

/// The key for new entries, made if need be.
pub(super) fn current(dir: &Path) -> Result<SealingKey, TokenStoreError> {
    if let Some(found) = pointed_to(dir).map_err(TokenStoreError::Keyring)? {
        return Ok(found);
    }
    // another process may make one as well: an entry names its key, so both are found
    let path = dir.join(POINTER);
    let io_error = |source| TokenStoreError::Io { path: path.clone(), source };
    let name = u128::from_ne_bytes(random().map_err(io_error)?);
    let name = format!("{name:032x}");
    let bytes = Zeroizing::new(random::<LENGTH>().map_err(io_error)?);
    entry(&name).and_then(|entry| entry.set_secret(&*bytes)).map_err(TokenStoreError::Keyring)?;
    file::write(dir, &path, name.as_bytes()).map_err(io_error)?;
    SealingKey::derive(name, &*bytes).map_err(io_error)
}

fn pointed_to(dir: &Path) -> Result<Option<SealingKey>, Error> {
    // a pointer that cannot be read points to nothing
    let mut name = String::new();
    let _ = file::options().read(true).open(dir.join(POINTER)).and_then(|file| file.take(64).read_to_string(&mut name));
    if is_name(&name) { find(&name) } else { Ok(None) }
}

fn is_name(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn find(name: &str) -> Result<Option<SealingKey>, Error> {
    match entry(name)?.get_secret().map(Zeroizing::new) {
        Ok(bytes) if bytes.len() == LENGTH => Ok(SealingKey::derive(name.to_owned(), &bytes).ok()),
        Ok(_) | Err(Error::NoEntry) => Ok(None),
        Err(error) => Err(error),
    }
}

fn entry(name: &str) -> Result<Entry, Error> {
    let system = system()?;
    // on Linux, a process without a session keyring gets one on first asking, but the first answer is that of before, from
    // which nothing can be linked to the persistent keyring
    system.build(SERVICE, name, None)?;
    system.build(SERVICE, name, None)
}

#[cfg(target_os = "linux")]
fn system() -> Result<Arc<linux_keyutils_keyring_store::Store>, Error> {
    linux_keyutils_keyring_store::Store::new()
}

#[cfg(target_os = "macos")]
fn system() -> Result<Arc<apple_native_keyring_store::keychain::Store>, Error> {
    apple_native_keyring_store::keychain::Store::new()
}

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
fn system() -> Result<Arc<keyring_core::CredentialStore>, Error> {
    Err(Error::NoStorageAccess(std::io::Error::from(std::io::ErrorKind::Unsupported).into()))
}
