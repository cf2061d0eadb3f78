//! What the fake holds: repositories by registry and name, blobs by digest, uploads, issued objects.
//!
//! Private registries are keyed by account and region, so that every spelling of a host is one registry.
use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;

use super::digest;
use super::image::{Built, Image};
use super::pushed::Pushed;
use super::route::Registry;

/// A stored manifest.
#[derive(Clone, Debug)]
pub(super) struct Manifest {
    pub(super) media_type: String,
    pub(super) bytes: Bytes,
}

/// One repository.
#[derive(Debug, Default)]
pub(super) struct Repository {
    /// In order of first push, which is not lexical, as on ECR.
    pub(super) tags: Vec<(String, String)>,
    pub(super) manifests: BTreeMap<String, Manifest>,
    pub(super) layers: BTreeSet<String>,
}

impl Repository {
    /// The digest that a tag or digest stands for, if it is there.
    pub(super) fn resolve(&self, reference: &str) -> Option<String> {
        if self.manifests.contains_key(reference) {
            return Some(reference.to_owned());
        }
        let found = self.tags.iter().find(|(tag, _)| tag == reference);
        found.map(|(_, digest)| digest.clone())
    }

    pub(super) fn put(&mut self, tag: Option<&str>, manifest: Manifest) -> String {
        let digest = digest::of(&manifest.bytes);
        self.manifests.insert(digest.clone(), manifest);
        let Some(tag) = tag else { return digest };
        match self.tags.iter_mut().find(|(name, _)| name == tag) {
            Some(entry) => entry.1.clone_from(&digest),
            None => self.tags.push((tag.to_owned(), digest.clone())),
        }
        digest
    }
}

/// A layer upload that is open.
#[derive(Debug, Default)]
pub(super) struct Upload {
    pub(super) registry: String,
    pub(super) repository: String,
    pub(super) bytes: Vec<u8>,
    /// Length after the first chunk: what ECR reports in `Range` for ever.
    pub(super) first: usize,
    pub(super) last_chunk: usize,
}

/// Everything that was pushed.
#[derive(Debug, Default)]
pub(super) struct Store {
    repositories: BTreeMap<(String, String), Repository>,
    blobs: HashMap<String, Bytes>,
    pub(super) uploads: HashMap<String, Upload>,
    /// Paths of storage URLs and the digest behind each.
    pub(super) objects: HashMap<String, String>,
}

impl Store {
    pub(super) fn repository(&self, registry: &str, name: &str) -> Option<&Repository> {
        self.repositories.get(&(registry.to_owned(), name.to_owned()))
    }

    pub(super) fn names(&self, registry: &str) -> Vec<&str> {
        let all = self.repositories.keys();
        all.filter(|(key, _)| key == registry).map(|(_, name)| name.as_str()).collect()
    }

    /// The repository, made when it is not there.
    pub(super) fn create(&mut self, registry: &str, name: &str) -> &mut Repository {
        self.repositories.entry((registry.to_owned(), name.to_owned())).or_default()
    }

    pub(super) fn existing(&mut self, registry: &str, name: &str) -> Option<&mut Repository> {
        self.repositories.get_mut(&(registry.to_owned(), name.to_owned()))
    }

    pub(super) fn remove(&mut self, registry: &str, name: &str) -> bool {
        self.repositories.remove(&(registry.to_owned(), name.to_owned())).is_some()
    }

    pub(super) fn blob(&self, digest: &str) -> Option<Bytes> {
        self.blobs.get(digest).cloned()
    }

    /// The blob, if this very repository holds it.
    pub(super) fn blob_of(&self, registry: &str, name: &str, digest: &str) -> Option<Bytes> {
        let held = self.repository(registry, name)?.layers.contains(digest);
        held.then(|| self.blob(digest)).flatten()
    }

    pub(super) fn put_blob(&mut self, registry: &str, name: &str, bytes: Bytes) -> String {
        let digest = digest::of(&bytes);
        let repository = self.create(registry, name);
        repository.layers.insert(digest.clone());
        self.blobs.insert(digest.clone(), bytes);
        digest
    }

    /// Stores an image, which creates the repository. `repository` is `host/name`.
    pub(super) fn push(&mut self, repository: &str, tag: &str, image: &Image) -> Pushed {
        let (key, name) = split(repository);
        let Built { blobs, pushed, child_type } = image.build(repository, tag);
        for blob in blobs {
            self.put_blob(&key, &name, blob);
        }
        let home = self.create(&key, &name);
        for child in &pushed.children {
            let manifest = Manifest { media_type: child_type.to_owned(), bytes: child.manifest.clone() };
            home.put(None, manifest);
        }
        let manifest = Manifest { media_type: pushed.media_type.clone(), bytes: pushed.manifest.clone() };
        home.put(Some(tag), manifest);
        pushed
    }
}

/// The registry key and the name in `host/name`. A host that is no ECR host is a mistake of the test.
#[track_caller]
pub(super) fn split(repository: &str) -> (String, String) {
    let (host, name) = repository.split_once('/').unwrap_or_else(|| panic!("{repository:?} is not host/name"));
    let registry = Registry::parse(host).unwrap_or_else(|| panic!("{host:?} is no host of Amazon ECR"));
    (registry.key(), name.to_owned())
}
