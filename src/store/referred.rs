//! What a manifest refers to: its children, its config, its layers.
//!
//! Reads manifests as they lie; one that is not there, or is no manifest, refers to nothing.

use std::{collections::HashSet, fs};

use serde_json::Value;

use super::BlobStore;
use crate::oci::Digest;

/// No manifest is larger.
const MOST: u64 = 16 * 1024 * 1024;

/// What one manifest names.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Referred {
    /// manifests, of an index
    pub(super) manifests: Vec<Digest>,
    /// config and layers
    pub(super) blobs: Vec<Digest>,
}

fn parse(bytes: &[u8]) -> Referred {
    let parsed: Value = serde_json::from_slice(bytes).unwrap_or_default();
    let digests = |list: &str, name: &str| -> Vec<Digest> {
        let entries = parsed[list].as_array().into_iter().flatten();
        entries.filter_map(|entry| entry[name].as_str()?.parse().ok()).collect()
    };
    let mut blobs = digests("layers", "digest");
    blobs.extend(parsed["config"]["digest"].as_str().and_then(|digest| digest.parse().ok()));
    // artifacts and schema 1
    blobs.extend(digests("blobs", "digest"));
    blobs.extend(digests("fsLayers", "blobSum"));
    Referred { manifests: digests("manifests", "digest"), blobs }
}

impl BlobStore {
    /// What the manifest refers to whose bytes are kept under this digest, if it is here.
    pub(super) fn referred(&self, manifest: &Digest) -> Referred {
        let is_small = self.table().get(manifest).is_some_and(|held| held.size <= MOST);
        if !is_small {
            return Referred::default();
        }
        fs::read(self.path(manifest)).map(|bytes| parse(&bytes)).unwrap_or_default()
    }

    /// Adds the manifest whose bytes are kept under `root`, and all that it refers to, here or not, to `reached`.
    pub(super) fn reach(&self, root: Digest, reached: &mut HashSet<Digest>) {
        let mut open = vec![root];
        while let Some(manifest) = open.pop() {
            if reached.insert(manifest.clone()) {
                let referred = self.referred(&manifest);
                reached.extend(referred.blobs);
                open.extend(referred.manifests);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_manifest_names_what_it_refers_to() {
        let one = Digest::of(b"1");
        let check = |text: &str, manifests: usize, blobs: usize| {
            let referred = parse(text.replace('@', one.as_str()).as_bytes());
            assert_eq!((referred.manifests.len(), referred.blobs.len()), (manifests, blobs), "{text}");
        };
        check(r#"{"manifests": [{"digest": "@"}, {"digest": "@"}]}"#, 2, 0);
        check(r#"{"config": {"digest": "@"}, "layers": [{"digest": "@"}]}"#, 0, 2);
        check(r#"{"fsLayers": [{"blobSum": "@"}]}"#, 0, 1);
        check(r#"{"blobs": [{"digest": "@"}, {"digest": "nonsense"}, 5]}"#, 0, 1);
        check("not JSON", 0, 0);
    }
}
