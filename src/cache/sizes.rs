//! [`Sizes`]: how large blobs are, as the manifests that passed say.
//!
//! In memory only and bounded. What a manifest says is kept for its own repository: one that lies, lies about itself.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use serde::Deserialize;

use crate::oci::{Digest, Manifest, Repository};

/// So many blobs are remembered; what is forgotten is asked.
const MOST: usize = 50_000;
/// So many blobs of one manifest are told of: more layers than any image has.
const MOST_TOLD: usize = 200;

#[derive(Debug, Default)]
pub(super) struct Sizes(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    blobs: HashMap<Digest, Vec<(Repository, u64)>>,
    /// whether somebody read the manifest, rather than only asked what it is
    read: HashMap<(Repository, Digest), bool>,
}

/// The blobs of an image or an artifact; an index has none.
#[derive(Deserialize)]
struct Image {
    config: Option<Named>,
    #[serde(default)]
    layers: Vec<Named>,
    #[serde(default)]
    blobs: Vec<Named>,
}

#[derive(Deserialize)]
struct Named {
    digest: String,
    size: u64,
    /// where a foreign layer is: seldom in the registry that names it
    #[serde(default)]
    urls: serde_json::Value,
}

impl Named {
    fn is_foreign(&self) -> bool {
        self.urls.as_array().is_some_and(|urls| !urls.is_empty())
    }
}

impl Sizes {
    /// Remembers what a manifest of `repository` says. The first of the blobs it names that are in the registry, when they are
    /// told for the first time to somebody who reads it; cheap after that.
    pub(super) fn learn(&self, repository: &Repository, manifest: &Manifest, is_read: bool) -> Vec<(Digest, u64)> {
        let key = (repository.clone(), manifest.descriptor.digest.clone());
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).read.get(&key).copied();
        if known.is_some_and(|was_read| was_read || !is_read) {
            return Vec::new();
        }
        let named = serde_json::from_slice::<Image>(&manifest.bytes).into_iter();
        let named = named.flat_map(|all| all.config.into_iter().chain(all.layers).chain(all.blobs));
        let named = named.filter_map(|blob| Some((blob.digest.parse().ok()?, blob.size, blob.is_foreign())));
        let named: Vec<(Digest, u64, bool)> = named.take(MOST).collect();
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.blobs.len() + named.len() > MOST || known.read.len() >= MOST {
            *known = Known::default();
        }
        for (digest, size, _) in &named {
            let told = known.blobs.entry(digest.clone()).or_default();
            told.retain(|(of, _)| of != repository);
            told.push((repository.clone(), *size));
        }
        known.read.insert(key, is_read);
        drop(known);
        if !is_read {
            return Vec::new();
        }
        let here = named.into_iter().filter(|(_, _, is_foreign)| !is_foreign);
        here.take(MOST_TOLD).map(|(digest, size, _)| (digest, size)).collect()
    }

    /// The size of a blob, when all who name it agree.
    pub(super) fn of(&self, digest: &Digest) -> Option<u64> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let told = known.blobs.get(digest)?;
        let (_, first) = told.first()?;
        told.iter().all(|(_, size)| size == first).then_some(*first)
    }

    /// The size of a blob that a manifest of `repository` names.
    pub(super) fn of_blob_in(&self, repository: &Repository, digest: &Digest) -> Option<u64> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.blobs.get(digest)?.iter().find(|(of, _)| of == repository).map(|(_, size)| *size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::MediaType;

    fn manifest(size: u64) -> Manifest {
        let digest = Digest::of(b"layer");
        let text = format!(
            "{{\"layers\":[{{\"digest\":\"{digest}\",\"size\":{size},\"more\":{{}}}},{{\"digest\":\"x\",\"size\":1}}]}}"
        );
        Manifest::new(MediaType::new("a/b"), text.into())
    }

    #[test]
    fn only_so_many_are_told_of_and_none_that_are_elsewhere() {
        let (sizes, digest) = (Sizes::default(), |number: u32| Digest::of(&number.to_be_bytes()));
        let repository = Repository { registry: "a.example".parse().unwrap(), name: "one".parse().unwrap() };
        let layer = |number| {
            let urls = match number % 4 {
                0 => r#","urls":["https://elsewhere.example/"]"#,
                1 => r#","urls":[]"#,
                2 => r#","urls":null"#,
                _ => "",
            };
            format!("{{\"digest\":\"{}\",\"size\":5{urls}}}", digest(number))
        };
        let layers: Vec<String> = (0..5000).map(layer).collect();
        let text = format!("{{\"layers\":[{}]}}", layers.join(","));
        let told = sizes.learn(&repository, &Manifest::new(MediaType::new("a/b"), text.into()), true);
        let want: Vec<_> = (0..5000).filter(|number| number % 4 > 0).take(MOST_TOLD).map(|n| (digest(n), 5)).collect();
        assert_eq!(told, want);
        assert_eq!([0, 4999].map(|number| sizes.of(&digest(number))), [Some(5); 2]);
    }

    #[test]
    fn what_a_manifest_says_counts_for_its_repository() {
        let (sizes, layer) = (Sizes::default(), Digest::of(b"layer"));
        let [one, other]: [Repository; 2] = ["a.example/one", "a.example/other"].map(|name| {
            let (registry, name) = name.split_once('/').unwrap();
            Repository { registry: registry.parse().unwrap(), name: name.parse().unwrap() }
        });
        assert_eq!(sizes.learn(&one, &manifest(7), false), []);
        assert_eq!(sizes.learn(&one, &manifest(7), true), [(layer.clone(), 7)]);
        assert_eq!(sizes.learn(&one, &manifest(7), true), []);
        assert_eq!((sizes.of(&layer), sizes.of_blob_in(&one, &layer)), (Some(7), Some(7)));
        assert_eq!(sizes.of_blob_in(&other, &layer), None);
        sizes.learn(&other, &manifest(8), false);
        assert_eq!((sizes.of(&layer), sizes.of_blob_in(&one, &layer)), (None, Some(7)));
        sizes.learn(&one, &Manifest::new(MediaType::new("a/b"), "no JSON".into()), true);
        assert_eq!(sizes.of_blob_in(&one, &layer), Some(7));
    }
}
