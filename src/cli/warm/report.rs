//! What came of a run: the summary, as a line or as JSON.

use std::{collections::BTreeSet, fmt};

use serde::Serialize;

use super::{
    pull::{Fetched, Pulled},
    registry::Origin,
};
use crate::{cli::cache::Bytes, oci::Digest};

/// What came of each image, and of all together.
#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    images: Vec<Row>,
    /// Images and files that did not come.
    pub(super) failed: usize,
    blobs: usize,
    bytes: u64,
    blobs_from_cache: usize,
    bytes_from_upstream: u64,
    #[serde(skip)]
    counted: BTreeSet<Digest>,
}

#[derive(Debug, Serialize)]
struct Row {
    image: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    blobs: usize,
    bytes: u64,
    blobs_from_cache: usize,
    bytes_from_upstream: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl Report {
    pub(super) fn came(&mut self, typed: &str, pulled: &Pulled) {
        let all = || pulled.manifests.iter().chain(&pulled.blobs);
        let of_upstream = |fetched: &&Fetched| fetched.origin == Origin::Upstream;
        self.images.push(Row {
            image: typed.to_owned(),
            digest: Some(pulled.digest.to_string()),
            blobs: pulled.blobs.len(),
            bytes: all().map(|fetched| fetched.size).sum(),
            blobs_from_cache: pulled.blobs.iter().filter(|blob| !of_upstream(blob)).count(),
            bytes_from_upstream: all().filter(of_upstream).map(|fetched| fetched.size).sum(),
            error: None,
        });
        // what two images share came once
        for (fetched, is_blob) in
            pulled.manifests.iter().map(|fetched| (fetched, 0)).chain(pulled.blobs.iter().map(|fetched| (fetched, 1)))
        {
            if self.counted.insert(fetched.digest.clone()) {
                let is_cached = fetched.origin != Origin::Upstream;
                self.blobs += is_blob;
                self.bytes += fetched.size;
                self.blobs_from_cache += if is_cached { is_blob } else { 0 };
                self.bytes_from_upstream += if is_cached { 0 } else { fetched.size };
            }
        }
    }

    pub(super) fn failed(&mut self, typed: &str, cause: &str) {
        self.failed += 1;
        let (typed, cause) = (typed.to_owned(), cause.to_owned());
        let (digest, blobs, bytes, blobs_from_cache, bytes_from_upstream) = (None, 0, 0, 0, 0);
        let error = Some(cause);
        self.images.push(Row { image: typed, digest, blobs, bytes, blobs_from_cache, bytes_from_upstream, error });
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = |count: usize, word| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
        let came = self.images.len() - self.failed;
        write!(f, "{}, {}, {}: ", plural(came, "image"), plural(self.blobs, "blob"), Bytes(self.bytes))?;
        write!(f, "{} from the cache, ", plural(self.blobs_from_cache, "blob"))?;
        write!(f, "{} from upstream", Bytes(self.bytes_from_upstream))?;
        if self.failed > 0 { write!(f, "; {} failed", self.failed) } else { Ok(()) }
    }
}
