//! What the cache holds, image by image, and the work a person asks for: remove, pin, collect garbage, verify.
//!
//! An image is a manifest that a repository was seen to have and that no index of the same repository refers to. What the
//! bytes of an image are worth to others is counted here, never what they say.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fs::FileTimes,
    io,
    time::SystemTime,
};

use cacache::index;
use serde::{Deserialize, Serialize};

use super::{BlobStore, sweep};
use crate::oci::{Digest, Manifest, MediaType, Reference, Repository, Tag, Verifier};

/// An image in the cache.
#[derive(Clone, Debug)]
pub struct Image {
    /// Where it is from.
    pub repository: Repository,
    /// The tags that were last seen to point to it.
    pub tags: Vec<Tag>,
    /// Its manifest or index.
    pub digest: Digest,
    /// What that is.
    pub media_type: MediaType,
    /// The manifest and everything it refers to that is here; what is shared with others is counted in full.
    pub size: u64,
    /// Whether all of it is here; of an index, all of the platforms that were pulled.
    pub is_complete: bool,
    /// Whether it stays, however little it is read.
    pub is_pinned: bool,
    /// When it was read last.
    pub read_at: SystemTime,
}

/// What the cache takes of the disk.
#[derive(Clone, Debug)]
pub struct Usage {
    /// Finished content.
    pub content: u64,
    /// Bytes in flight.
    pub staging: u64,
    /// Records and everything else.
    pub records: u64,
    /// All of it, as du(1) counts.
    pub total: u64,
    /// What may be kept.
    pub bound: u64,
    /// What stays free of the disk.
    pub min_free: u64,
    /// Content of pinned images.
    pub pinned: u64,
    /// How many pieces of content.
    pub objects: u64,
    /// How much of it each registry brought; what several brought is counted at each.
    pub registries: Vec<(String, u64)>,
}

/// What went.
#[derive(Clone, Copy, Debug, Default)]
pub struct Removed {
    /// Manifests and indexes.
    pub manifests: u64,
    /// Configs and layers.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What a check of all content found.
#[derive(Clone, Debug, Default)]
pub struct Verified {
    /// How many pieces of content were read.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What was not what its name says; it is gone and will be fetched again.
    pub damaged: Vec<Digest>,
}

#[derive(Serialize, Deserialize)]
struct PinRecord {}

#[derive(Default)]
struct Records {
    manifests: BTreeSet<(Repository, Digest)>,
    tags: BTreeMap<(Repository, Digest), BTreeSet<Tag>>,
    pins: Vec<(Repository, Reference, Digest)>,
}

#[derive(Default)]
struct Extent {
    digests: BTreeMap<Digest, u64>,
    is_incomplete: bool,
}

impl BlobStore {
    /// Every image of the cache.
    pub fn images(&self) -> io::Result<Vec<Image>> {
        let records = self.records();
        let mut images = Vec::new();
        let mut inner = HashSet::new();
        for (repository, digest) in &records.manifests {
            let Some(manifest) = self.look(repository, digest)? else { continue };
            inner.extend(children(&manifest).into_iter().map(|child| (repository.clone(), child)));
            let extent = self.extent(repository, digest)?;
            let tags = records.tags.get(&(repository.clone(), digest.clone()));
            images.push(Image {
                repository: repository.clone(),
                tags: tags.into_iter().flatten().cloned().collect(),
                digest: digest.clone(),
                media_type: manifest.descriptor.media_type,
                size: extent.digests.values().sum(),
                is_complete: !extent.is_incomplete,
                is_pinned: records.pins.iter().any(|pin| (&pin.0, &pin.2) == (repository, digest)),
                read_at: std::fs::metadata(self.path(digest))?.accessed()?,
            });
        }
        images.retain(|image| {
            !image.tags.is_empty() || !inner.contains(&(image.repository.clone(), image.digest.clone()))
        });
        Ok(images)
    }

    /// What the cache takes of the disk.
    pub fn usage(&self) -> io::Result<Usage> {
        let records = self.records();
        let contents = sweep::contents(&self.inner().dir)?;
        let content = contents.iter().map(|content| content.size).sum();
        let total = on_disk(&self.inner().dir)?;
        let mut registries = BTreeMap::<String, BTreeMap<Digest, u64>>::new();
        for (repository, digest) in &records.manifests {
            let digests = self.extent(repository, digest)?.digests;
            registries.entry(repository.registry.to_string()).or_default().extend(digests);
        }
        let mut pinned = BTreeMap::new();
        for (repository, _, digest) in &records.pins {
            pinned.extend(self.extent(repository, digest)?.digests);
        }
        let staging = on_disk(&self.inner().dir.join("staging"))?;
        Ok(Usage {
            content,
            staging,
            records: total.saturating_sub(content + staging),
            total,
            bound: self.bound(),
            min_free: sweep::default_free(&self.inner().dir)?,
            pinned: pinned.values().sum(),
            objects: contents.len() as u64,
            registries: registries.into_iter().map(|(name, digests)| (name, digests.values().sum())).collect(),
        })
    }

    /// Removes an image: its tags, its manifests, and the content that nothing else refers to. A pinned one is not removed.
    pub fn remove_image(&self, repository: &Repository, reference: &Reference) -> io::Result<Option<Removed>> {
        let records = self.records();
        let Some(digest) = records.find(repository, reference) else { return Ok(None) };
        if records.pins.iter().any(|pin| (&pin.0, &pin.2) == (repository, &digest)) {
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, "it is pinned"));
        }
        let tags = records.tags.get(&(repository.clone(), digest.clone())).cloned().unwrap_or_default();
        let gone: Vec<_> = match reference {
            Reference::Tag(tag) => vec![tag.clone()],
            Reference::Digest(_) => tags.iter().cloned().collect(),
        };
        for tag in &gone {
            self.delete_record(&format!("tag {repository}:{tag}"))?;
        }
        if tags.len() > gone.len() {
            return Ok(Some(Removed::default()));
        }
        self.delete_record(&format!("manifest {repository}@{digest}"))?;
        let manifest = self.path(&digest);
        if let Ok(bytes) = std::fs::read(manifest) {
            for child in children(&Manifest::new(MediaType::new(""), bytes.into())) {
                self.delete_record(&format!("manifest {repository}@{child}"))?;
            }
        }
        self.collect_garbage().map(Some)
    }

    /// Makes an image stay, or no longer. `None`: it is not here.
    pub fn pin(&self, repository: &Repository, reference: &Reference, on: bool) -> io::Result<Option<Digest>> {
        let records = self.records();
        let key = format!("pin {repository} {reference}");
        let pinned = records.pins.iter().find(|pin| (&pin.0, &pin.1) == (repository, reference));
        if !on {
            let Some((_, _, digest)) = pinned else { return Ok(None) };
            self.delete_record(&key)?;
            return Ok(Some(digest.clone()));
        }
        let Some(digest) = records.find(repository, reference) else { return Ok(None) };
        self.put(&key, &digest, 0, &PinRecord {})?;
        Ok(Some(digest))
    }

    /// What is pinned, and by which name.
    pub fn pins(&self) -> io::Result<Vec<(Repository, Reference, Digest)>> {
        Ok(self.records().pins)
    }

    /// Deletes content that no image refers to.
    pub fn collect_garbage(&self) -> io::Result<Removed> {
        let mut kept = HashSet::new();
        for (repository, digest) in &self.records().manifests {
            kept.extend(self.extent(repository, digest)?.digests.into_keys());
        }
        let mut removed = Removed::default();
        for content in sweep::contents(&self.inner().dir)? {
            if !kept.contains(&content.digest) && !self.inner().leases.is_taken(&content.digest) {
                let is_manifest = std::fs::read(self.path(&content.digest))
                    .is_ok_and(|bytes| bytes.len() < 4 << 20 && bytes.starts_with(b"{") && is_manifest(&bytes));
                *(if is_manifest { &mut removed.manifests } else { &mut removed.blobs }) += 1;
                removed.bytes += content.size;
                self.remove(&content.digest)?;
            }
        }
        Ok(removed)
    }

    /// Compares all content with its digest. What is damaged goes, and is fetched again.
    pub fn verify(&self, progress: &dyn Fn(u64, u64)) -> io::Result<Verified> {
        let contents = sweep::contents(&self.inner().dir)?;
        let of = contents.iter().map(|content| content.size).sum();
        let mut found = Verified::default();
        let mut buffer = vec![0; 256 << 10];
        for content in contents {
            let mut verifier = Verifier::new();
            let mut file = std::fs::File::open(&content.path)?;
            loop {
                let count = io::Read::read(&mut file, &mut buffer)?;
                if count == 0 {
                    break;
                }
                verifier.update(&buffer[..count]);
                found.bytes += count as u64;
                progress(found.bytes, of);
            }
            found.objects += 1;
            if verifier.finish() != content.digest {
                self.remove(&content.digest)?;
                found.damaged.push(content.digest);
            }
        }
        Ok(found)
    }

    /// A manifest, which is not read for that: looking at the list is no use of an image.
    fn look(&self, repository: &Repository, digest: &Digest) -> io::Result<Option<Manifest>> {
        let record =
            index::find(&self.inner().dir, &format!("manifest {repository}@{digest}")).map_err(io::Error::other)?;
        let Some(media_type) = record.as_ref().and_then(|record| record.metadata.get("media_type")?.as_str()) else {
            return Ok(None);
        };
        let mut file = match std::fs::File::open(self.path(digest)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let read_at = file.metadata()?.accessed()?;
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut file, &mut bytes)?;
        // a file system that does not keep it had none worth keeping
        let _ = file.set_times(FileTimes::new().set_accessed(read_at));
        Ok(Some(Manifest::new(MediaType::new(media_type), bytes.into())))
    }

    fn records(&self) -> Records {
        let mut records = Records::default();
        for entry in index::ls(&self.inner().dir).flatten() {
            let Some((kind, name)) = entry.key.split_once(' ') else { continue };
            match kind {
                "manifest" => records.manifests.extend(manifest_name(name)),
                "tag" => {
                    let Some((repository, tag)) = name.rsplit_once(':') else { continue };
                    let (Some(repository), Ok(tag)) = (repository_name(repository), tag.parse()) else { continue };
                    let (_, hex) = entry.integrity.to_hex();
                    let Ok(digest) = format!("sha256:{hex}").parse() else { continue };
                    records.tags.entry((repository, digest)).or_default().insert(tag);
                }
                "pin" => {
                    let Some((repository, reference)) = name.split_once(' ') else { continue };
                    let (Some(repository), Ok(reference)) = (repository_name(repository), reference.parse()) else {
                        continue;
                    };
                    let (_, hex) = entry.integrity.to_hex();
                    let Ok(digest) = format!("sha256:{hex}").parse() else { continue };
                    records.pins.push((repository, reference, digest));
                }
                _ => {}
            }
        }
        records
    }

    fn extent(&self, repository: &Repository, digest: &Digest) -> io::Result<Extent> {
        let mut extent = Extent::default();
        let Some(manifest) = self.look(repository, digest)? else {
            extent.is_incomplete = true;
            return Ok(extent);
        };
        extent.digests.insert(digest.clone(), manifest.descriptor.size);
        for blob in blobs(&manifest) {
            match std::fs::metadata(self.path(&blob)) {
                Ok(metadata) => drop(extent.digests.insert(blob, metadata.len())),
                Err(_) => extent.is_incomplete = true,
            }
        }
        let children = children(&manifest);
        let mut present = 0;
        for child in &children {
            if self.look(repository, child)?.is_some() {
                let below = self.extent(repository, child)?;
                present += 1;
                extent.digests.extend(below.digests);
                extent.is_incomplete |= below.is_incomplete;
            }
        }
        extent.is_incomplete |= !children.is_empty() && present == 0;
        Ok(extent)
    }

    fn delete_record(&self, key: &str) -> io::Result<()> {
        index::delete(&self.inner().dir, key).map_err(io::Error::other)
    }
}

impl Records {
    fn find(&self, repository: &Repository, reference: &Reference) -> Option<Digest> {
        match reference {
            Reference::Digest(digest) => {
                self.manifests.contains(&(repository.clone(), digest.clone())).then(|| digest.clone())
            }
            Reference::Tag(tag) => {
                let mut tags = self.tags.iter();
                tags.find(|((of, _), tags)| of == repository && tags.contains(tag))
                    .map(|((_, digest), _)| digest.clone())
            }
        }
    }
}

fn repository_name(text: &str) -> Option<Repository> {
    let (registry, name) = text.split_once('/')?;
    Some(Repository { registry: registry.parse().ok()?, name: name.parse().ok()? })
}

fn manifest_name(text: &str) -> Option<(Repository, Digest)> {
    let (repository, digest) = text.split_once('@')?;
    Some((repository_name(repository)?, digest.parse().ok()?))
}

fn is_manifest(bytes: &[u8]) -> bool {
    serde_json::from_slice::<serde_json::Value>(bytes).is_ok_and(|json| json.get("schemaVersion").is_some())
}

fn digests(manifest: &Manifest, pointers: &[(&str, &str)]) -> Vec<Digest> {
    let json: serde_json::Value = serde_json::from_slice(&manifest.bytes).unwrap_or_default();
    let lists = pointers.iter().flat_map(|(list, name)| {
        let entries = json.get(list).and_then(serde_json::Value::as_array).into_iter().flatten();
        entries.filter_map(|entry| entry.get(name)).collect::<Vec<_>>()
    });
    let all = lists.chain(json.pointer("/config/digest").filter(|_| pointers.len() > 1));
    all.filter_map(|digest| digest.as_str()?.parse().ok()).collect()
}

fn children(manifest: &Manifest) -> Vec<Digest> {
    digests(manifest, &[("manifests", "digest")])
}

fn blobs(manifest: &Manifest) -> Vec<Digest> {
    digests(manifest, &[("layers", "digest"), ("fsLayers", "blobSum"), ("blobs", "digest")])
}

fn on_disk(path: &std::path::Path) -> io::Result<u64> {
    use std::os::unix::fs::MetadataExt as _;
    let metadata = std::fs::symlink_metadata(path)?;
    let mut total = metadata.blocks() * 512;
    if metadata.is_dir() {
        for entry in std::fs::read_dir(path)? {
            total += on_disk(&entry?.path())?;
        }
    }
    Ok(total)
}
