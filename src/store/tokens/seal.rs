//! [`SealingKey`]: tokens under a key, AES-256-GCM.
//!
//! The key proper is derived from the bytes it is made of by HKDF-SHA256. Every sealing has its own random nonce, and is
//! good for the entry it was made for only. Opening with a wrong key gives nothing, never an error.

use std::{fs::File, io, os::unix::fs::OpenOptionsExt as _, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    error::Unspecified,
    hkdf::{HKDF_SHA256, Salt},
    rand::{SecureRandom as _, SystemRandom},
};
use rustix::fs::OFlags;
use zeroize::Zeroizing;

use super::{TokenKey, TokenStoreError, file, record::Sealed};
use crate::secret::Secret;

/// Less is no key: it could be guessed.
pub(super) const LENGTH: usize = 32;
/// More is no key either, but some other file.
const LONGEST_FILE: u64 = 64 * 1024;
/// Says what the derived key is for; another layout of sealed entries gets another text.
const PURPOSE: &[u8] = b"longshore token store 2";

/// A key that seals and opens tokens.
#[derive(Debug)]
pub(super) struct SealingKey {
    /// Which key of the keyring; empty for that of the key file.
    name: String,
    key: LessSafeKey,
}

/// The key in the key file of the configuration.
pub(super) fn from_file(path: &Path) -> Result<SealingKey, TokenStoreError> {
    let failed = |source| TokenStoreError::KeyFile { path: path.to_owned(), source };
    // a key may lie behind a link, as those of kubernetes do; a pipe holds none
    let file = File::options().read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(path);
    let file = file.map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    file::check_private(path, &metadata, || {
        format!("a key is for its owner alone: chown and chmod 600 {}, or make another", path.display())
    })?;
    let bytes = file::read_all(file, metadata.len().min(LONGEST_FILE)).map_err(failed)?;
    if bytes.len() < LENGTH {
        let problem = format!("holds {} bytes and a key has 32 or more: head -c 32 /dev/urandom", bytes.len());
        return Err(failed(io::Error::new(io::ErrorKind::InvalidData, problem)));
    }
    SealingKey::derive(String::new(), &bytes).map_err(failed)
}

impl SealingKey {
    pub(super) fn derive(name: String, bytes: &[u8]) -> io::Result<Self> {
        let secret = Salt::new(HKDF_SHA256, &[]).extract(bytes);
        let key = secret.expand(&[PURPOSE], &AES_256_GCM).map_err(refused)?;
        Ok(Self { name, key: LessSafeKey::new(UnboundKey::from(key)) })
    }

    pub(super) fn seal(&self, entry: &TokenKey, secret: &Secret) -> io::Result<Sealed> {
        let nonce: [u8; NONCE_LEN] = random()?;
        // room for the tag: growing would leave a copy
        let mut bytes = Zeroizing::new(Vec::with_capacity(secret.expose().len() + AES_256_GCM.tag_len()));
        bytes.extend_from_slice(secret.expose().as_bytes());
        let about = Aad::from(entry.as_str());
        self.key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), about, &mut *bytes).map_err(refused)?;
        Ok(Sealed { key: self.name.clone(), nonce: STANDARD.encode(nonce), text: STANDARD.encode(&*bytes) })
    }

    /// The token; `None` when it was sealed with another key or for another entry, or is damaged.
    pub(super) fn open(&self, entry: &TokenKey, sealed: &Sealed) -> Option<Secret> {
        let nonce = Nonce::try_assume_unique_for_key(&STANDARD.decode(&sealed.nonce).ok()?).ok()?;
        let mut bytes = Zeroizing::new(STANDARD.decode(&sealed.text).ok()?);
        let text = self.key.open_in_place(nonce, Aad::from(entry.as_str()), &mut bytes).ok()?;
        str::from_utf8(text).ok().map(|text| Secret::new(text.to_owned()))
    }
}

/// Bytes nobody can guess.
pub(super) fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(refused)?;
    Ok(bytes)
}

/// What ring says when it does not do something, which is nothing.
fn refused(_: Unspecified) -> io::Error {
    io::Error::other("the cryptographic library refuses")
}
