//! [`TokenKey`]: the name of an entry.
//!
//! It is a digest, so a file name tells nothing; it is never made from a secret.

use std::fmt;

use crate::oci::Digest;

/// Names an entry: a digest of the identity and scope a token is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TokenKey(String);

impl TokenKey {
    /// The key for what `identity` describes.
    #[must_use]
    pub fn new(identity: &str) -> Self {
        Self(Digest::of(identity.as_bytes()).hex().to_owned())
    }

    /// 64 lowercase hex digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The key whose file with this extension has the name `name`; `None` when it is no such file.
    pub(super) fn from_file_name(name: &str, extension: &str) -> Option<Self> {
        let stem = name.strip_suffix(extension)?.strip_suffix('.')?;
        let is_digest = stem.len() == 64 && stem.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        is_digest.then(|| Self(stem.to_owned()))
    }
}

impl fmt::Display for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
