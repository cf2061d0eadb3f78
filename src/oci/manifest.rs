//! Manifests: a [`Descriptor`] and the bytes exactly as the registry sent them.
//!
//! Bytes are never re-serialized, converted or trimmed: their digest is their name.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Digest, signed};

/// A manifest of schema 1 with its signatures: its digest is that of what they sign.
const SIGNED: &str = "application/vnd.docker.distribution.manifest.v1+prettyjws";

/// The media type of a manifest or blob, as the registry spelled it, without parameters.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MediaType(Box<str>);

impl MediaType {
    /// Takes the type out of a `Content-Type` value.
    #[must_use]
    pub fn new(content_type: &str) -> Self {
        let bare = content_type.split(';').next().unwrap_or_default();
        Self(bare.trim().to_ascii_lowercase().into())
    }

    /// The text of the type.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What content is: its type, digest and size in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// What kind of content.
    pub media_type: MediaType,
    /// Its name.
    pub digest: Digest,
    /// How many bytes it has.
    pub size: u64,
}

/// A manifest or an index: what it is, and its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// What it is; the digest is that of `bytes`, or of what they sign if they are a signed manifest of schema 1.
    pub descriptor: Descriptor,
    /// The bytes as they came.
    pub bytes: Bytes,
}

impl Manifest {
    /// Names `bytes` by their digest; a signed manifest of schema 1 by that of what it signs.
    #[must_use]
    pub fn new(media_type: MediaType, bytes: Bytes) -> Self {
        let payload = if media_type.as_str() == SIGNED { signed::payload(&bytes) } else { None };
        let digest = payload.map_or_else(|| Digest::of(&bytes), |payload| Digest::of(&payload));
        Self::with(media_type, bytes, digest)
    }

    /// A manifest that is called `digest`; `None` when neither its bytes nor what they sign has that digest.
    #[must_use]
    pub fn named(media_type: MediaType, bytes: Bytes, digest: &Digest) -> Option<Self> {
        let is_its_name = Digest::of(&bytes) == *digest
            || signed::payload(&bytes).is_some_and(|signed| Digest::of(&signed) == *digest);
        is_its_name.then(|| Self::with(media_type, bytes, digest.clone()))
    }

    fn with(media_type: MediaType, bytes: Bytes, digest: Digest) -> Self {
        let size = bytes.len() as u64;
        Self { descriptor: Descriptor { media_type, digest, size }, bytes }
    }
}

/// The media types a client accepts, in one spelling whatever the order and number of its `Accept` lines:
/// dockerd sends six lines in random order, containerd one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Accept(String);

/// What is asked for when a client names no type: every manifest type in use.
const EVERY_MANIFEST: &str = "application/vnd.docker.distribution.manifest.list.v2+json,\
application/vnd.docker.distribution.manifest.v2+json,\
application/vnd.oci.image.index.v1+json,\
application/vnd.oci.image.manifest.v1+json";

impl Accept {
    /// Joins, sorts and deduplicates the values of all `Accept` lines.
    pub fn new<'a>(lines: impl IntoIterator<Item = &'a str>) -> Self {
        let mut types: Vec<String> = lines
            .into_iter()
            .flat_map(|line| line.split(','))
            .map(|entry| MediaType::new(entry).0.into_string())
            .filter(|entry| !entry.is_empty())
            .collect();
        types.sort_unstable();
        types.dedup();
        if types.is_empty() || types == ["*/*"] {
            return Self(EVERY_MANIFEST.to_owned());
        }
        Self(types.join(","))
    }

    /// The value of one `Accept` line that means the same.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A short name for these types: a client may name any number of them.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        Digest::of(self.0.as_bytes()).hex()[..16].to_owned()
    }

    /// Whether content of this type answers the request.
    #[must_use]
    pub fn allows(&self, media_type: &MediaType) -> bool {
        let mut types = self.0.split(',');
        types.any(|entry| entry == media_type.as_str() || entry == "*/*")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_accept_lines_does_not_matter() {
        let one = Accept::new(["b/b, a/a;q=0.5", "c/c"]);
        let other = Accept::new(["c/c", "A/A", "b/b", "b/b"]);
        assert_eq!(one, other);
        assert_eq!(one.as_str(), "a/a,b/b,c/c");
    }

    #[test]
    fn no_accept_and_any_accept_mean_every_manifest_type() {
        assert_eq!(Accept::new([]), Accept::new(["*/*"]));
        assert!(Accept::new([]).allows(&MediaType::new("application/vnd.oci.image.index.v1+json")));
    }

    #[test]
    fn a_type_is_allowed_by_name_or_by_the_wildcard() {
        let index = MediaType::new("application/vnd.oci.image.index.v1+json; charset=utf-8");
        assert!(Accept::new(["text/plain, */*"]).allows(&index));
        assert!(!Accept::new(["text/plain"]).allows(&index));
    }
}
