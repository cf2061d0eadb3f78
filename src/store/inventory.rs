//! What is in the cache, as people name it: images, what they take, what may go.
//!
//! Reads all records when asked: for commands of a person, not for requests.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    io,
    time::SystemTime,
};

use super::{BlobStore, records, walk};
use crate::oci::{Digest, MediaType, Reference, Repository, Tag};

/// An image that is in the cache: a manifest, or an index with what is here of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Where it is from.
    pub repository: Repository,
    /// The tags that pointed to it last.
    pub tags: Vec<Tag>,
    /// Its manifest.
    pub digest: Digest,
    /// What kind of manifest.
    pub media_type: MediaType,
    /// Bytes of the manifest and of all it refers to that is here.
    pub size: u64,
    /// Whether it can be pulled without upstream: all a manifest refers to is here; of an index, at least one child, and
    /// all of each child that is here.
    pub is_complete: bool,
    /// Whether it stays whatever happens.
    pub is_pinned: bool,
    /// When it was last read.
    pub read_at: SystemTime,
}

/// What the cache takes of the disk, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Finished content.
    pub content: u64,
    /// Downloads, under way or at rest.
    pub staging: u64,
    /// Everything else: records, folders, tokens, quarantine.
    pub records: u64,
    /// The whole folder, as `du` counts it.
    pub total: u64,
    /// What the folder may take.
    pub bound: u64,
    /// What stays free on its disk.
    pub min_free: u64,
    /// Content that is pinned.
    pub pinned: u64,
    /// How many contents there are.
    pub objects: u64,
    /// Content by the registry it was fetched from.
    pub registries: Vec<(String, u64)>,
}

/// What went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Manifests of repositories.
    pub manifests: u64,
    /// Configs, layers, and whatever else had lain there.
    pub blobs: u64,
    /// Bytes of the disk.
    pub bytes: u64,
}

/// What is known of a manifest.
#[derive(Debug)]
pub(super) struct Kept {
    media_type: MediaType,
    /// what its bytes are kept under: not its own digest, if it is a signed one of schema 1
    pub(super) content: Digest,
}

/// All records of manifests and tags.
#[derive(Debug, Default)]
pub(super) struct Catalog {
    pub(super) manifests: BTreeMap<(Repository, Digest), Kept>,
    pub(super) tags: BTreeMap<(Repository, Tag), Vec<Digest>>,
}

impl Catalog {
    /// The tags of a manifest.
    fn tags_of<'a>(&'a self, repository: &'a Repository, digest: &'a Digest) -> impl Iterator<Item = &'a Tag> {
        let tags = self.tags.iter().filter(move |((of, _), digests)| of == repository && digests.contains(digest));
        tags.map(|((_, tag), _)| tag)
    }

    /// What the bytes of a manifest are kept under.
    fn content(&self, repository: &Repository, digest: &Digest) -> Digest {
        let kept = self.manifests.get(&(repository.clone(), digest.clone()));
        kept.map_or(digest, |kept| &kept.content).clone()
    }
}

impl BlobStore {
    /// The images that are here. An index is one; its children that have no tag are part of it.
    pub fn images(&self) -> io::Result<Vec<Image>> {
        let catalog = self.catalog();
        let mut tags = HashMap::<(&Repository, &Digest), Vec<Tag>>::new();
        for ((repository, tag), digests) in &catalog.tags {
            for digest in digests {
                tags.entry((repository, digest)).or_default().push(tag.clone());
            }
        }
        let here: Vec<_> = catalog.manifests.iter().filter(|(_, kept)| self.table().contains(&kept.content)).collect();
        let mut children = HashSet::new();
        for ((repository, _), kept) in &here {
            children
                .extend(self.referred(&kept.content).manifests.into_iter().map(|child| (repository.clone(), child)));
        }
        let mut images = Vec::new();
        for ((repository, digest), kept) in here {
            let tags = tags.remove(&(repository, digest)).unwrap_or_default();
            if tags.is_empty() && children.contains(&(repository.clone(), digest.clone())) {
                continue;
            }
            images.extend(self.image(repository, tags, digest, kept));
        }
        Ok(images)
    }

    fn image(&self, repository: &Repository, tags: Vec<Tag>, digest: &Digest, kept: &Kept) -> Option<Image> {
        let mut reached = HashSet::new();
        self.reach(kept.content.clone(), &mut reached);
        let is_complete = self.is_complete(&kept.content);
        let table = self.table();
        let here = || reached.iter().filter_map(|digest| table.get(digest));
        Some(Image {
            repository: repository.clone(),
            tags,
            digest: digest.clone(),
            media_type: kept.media_type.clone(),
            size: here().map(|held| held.size).sum(),
            is_complete,
            is_pinned: table.pinned.contains(&kept.content),
            read_at: here().map(|held| held.read_at).max()?,
        })
    }

    fn is_complete(&self, manifest: &Digest) -> bool {
        let referred = self.referred(manifest);
        let is_here = |digest: &Digest| self.table().contains(digest);
        if referred.manifests.is_empty() {
            return referred.blobs.iter().all(is_here);
        }
        let mut here = referred.manifests.iter().filter(|child| is_here(child)).peekable();
        here.peek().is_some() && here.all(|child| self.is_complete(child))
    }

    /// What the cache takes of the disk.
    pub fn usage(&self) -> io::Result<Usage> {
        let beside = walk::taken_beside(&self.inner().dir);
        let staging = self.staging_files().map(|file| file.taken).sum::<u64>().min(beside);
        let tree = self.inner().tree.load(std::sync::atomic::Ordering::Relaxed);
        let table = self.table();
        let (content, records) = (table.taken(), tree + beside - staging);
        let pinned = table.iter().filter(|(digest, _)| table.pinned.contains(*digest)).map(|(_, held)| held.taken);
        let mut registries: Vec<_> = table.registries().map(|(name, taken)| (name.to_string(), taken)).collect();
        registries.sort();
        Ok(Usage {
            content,
            staging,
            records,
            total: content + staging + records,
            bound: self.inner().bounds.max_size,
            min_free: self.inner().bounds.min_free,
            pinned: pinned.sum(),
            objects: table.len() as u64,
            registries,
        })
    }

    /// Removes an image: by tag, the tag, and the manifest if nothing else points to it; by digest, the manifest and all
    /// its tags. What nothing else refers to goes with it. Nothing if there is no such image; refused if it is pinned.
    pub fn remove_image(&self, repository: &Repository, reference: &Reference) -> io::Result<Option<Removed>> {
        let catalog = self.catalog();
        let (tags, digests): (Vec<Tag>, Vec<Digest>) = match reference {
            Reference::Tag(tag) => match catalog.tags.get(&(repository.clone(), tag.clone())) {
                Some(digests) => (vec![tag.clone()], digests.clone()),
                None => return Ok(None),
            },
            Reference::Digest(digest) if catalog.manifests.contains_key(&(repository.clone(), digest.clone())) => {
                (catalog.tags_of(repository, digest).cloned().collect(), vec![digest.clone()])
            }
            Reference::Digest(_) => return Ok(None),
        };
        let pinned = digests.iter().find(|digest| self.table().pinned.contains(*digest));
        if let Some(pinned) = pinned {
            let words = format!("{repository}@{pinned} is pinned, or part of an image that is; let the pin go first");
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, words));
        }
        let is_kept = |digest: &&Digest| catalog.tags_of(repository, digest).any(|tag| !tags.contains(tag));
        let goes: Vec<&Digest> = digests.iter().filter(|digest| !is_kept(digest)).collect();
        for tag in &tags {
            self.remove_record(&self.changing(), &records::tag_key(repository, tag))?;
        }
        let mut reached = HashSet::new();
        for digest in &goes {
            self.reach(catalog.content(repository, digest), &mut reached);
        }
        self.drop_reached(repository, catalog, &goes, &reached).map(Some)
    }

    /// Removes the manifests `goes` of a repository with those of their children that nothing else has, and all of
    /// `reached` that no other manifest refers to.
    fn drop_reached(
        &self,
        repository: &Repository,
        mut catalog: Catalog,
        goes: &[&Digest],
        reached: &HashSet<Digest>,
    ) -> io::Result<Removed> {
        let mut removed = Removed::default();
        // a child stays if it has a tag, or an index that stays has it
        let stays = |catalog: &Catalog, digest: &Digest| {
            let has_tag = catalog.tags_of(repository, digest).next().is_some();
            let mut others =
                catalog.manifests.iter().filter(|((of, other), _)| of == repository && !goes.contains(&other));
            has_tag || others.any(|(_, kept)| self.referred(&kept.content).manifests.contains(digest))
        };
        let of_here = catalog.manifests.iter().filter(|((of, _), _)| of == repository);
        let records = of_here.filter(|(_, kept)| reached.contains(&kept.content)).map(|(name, _)| name.clone());
        let records: Vec<(Repository, Digest)> = records.collect();
        let contents: HashSet<Digest> = goes.iter().map(|digest| catalog.content(repository, digest)).collect();
        for (_, digest) in records {
            if goes.contains(&&digest) || !stays(&catalog, &digest) {
                self.remove_record(&self.changing(), &records::manifest_key(repository, &digest))?;
                catalog.manifests.remove(&(repository.clone(), digest));
                removed.manifests += 1;
            }
        }
        let mut kept = HashSet::new();
        for stays in catalog.manifests.into_values() {
            self.reach(stays.content, &mut kept);
        }
        for digest in reached.difference(&kept) {
            let is_manifest = contents.contains(digest) || !self.referred(digest).blobs.is_empty();
            if let Some(bytes) = self.evict(digest, "its image was removed") {
                removed.bytes += bytes;
                removed.blobs += u64::from(!is_manifest);
            }
        }
        Ok(removed)
    }

    /// All records of manifests and tags.
    pub(super) fn catalog(&self) -> Catalog {
        let mut catalog = Catalog::default();
        walk::records(&self.inner().dir, &mut |record| {
            if let Some((repository, digest, media_type, content)) = records::manifest_of(&record) {
                catalog.manifests.insert((repository, digest), Kept { media_type, content });
            } else if let Some((repository, tag, digests)) = records::tag_of(&record) {
                catalog.tags.insert((repository, tag), digests);
            }
        });
        catalog
    }
}
