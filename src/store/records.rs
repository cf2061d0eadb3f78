//! Small records in cacache's index: the size of content, which manifests a repository has, what its tags point to.
//!
//! A record is written when its fact changes, never when it is merely confirmed: the index only grows per update.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use cacache::{Integrity, WriteOpts, index};
use serde::{Deserialize, Serialize};

use super::{
    BlobStore, CommitError,
    blobs::Changing,
    index::{self as buckets, Record},
};
use crate::oci::{Accept, Descriptor, Digest, Manifest, MediaType, Registry, Repository, Tag};

/// What a tag pointed to, for clients that accept a certain set of media types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagEntry {
    /// Whether it was this question's own set of media types that was answered with it.
    pub same_accept: bool,
    /// The manifest the tag pointed to.
    pub descriptor: Descriptor,
}

/// What content was verified with; its size is the record's own.
#[derive(Default, Serialize, Deserialize)]
struct ContentRecord {
    /// the registry it was fetched from
    #[serde(default)]
    from: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct ManifestRecord {
    media_type: MediaType,
    /// the digest its bytes are kept under, when they have another one: signed manifests of schema 1
    #[serde(default, skip_serializing_if = "Option::is_none")]
    content: Option<String>,
}

impl ManifestRecord {
    /// What the bytes of the manifest `digest` are kept under.
    fn content(&self, digest: &Digest) -> Option<Digest> {
        self.content.as_ref().map_or_else(|| Some(digest.clone()), |content| content.parse().ok())
    }
}

#[derive(Default, Serialize, Deserialize)]
struct TagRecord {
    entries: Vec<TagRecordEntry>,
}

#[derive(Serialize, Deserialize)]
struct TagRecordEntry {
    /// a fingerprint: a client may name any number of types
    accept: String,
    media_type: MediaType,
    digest: String,
    size: u64,
}

/// A tag remembers this many sets of accepted types: more than there are kinds of clients.
const ENTRIES_OF_A_TAG: usize = 16;
/// What a question was answered with last, and before that.
const ENTRIES_OF_A_QUESTION: usize = 2;

impl BlobStore {
    /// Keeps a manifest that `repository` was seen to have.
    pub fn put_manifest(&self, repository: &Repository, manifest: &Manifest) -> Result<(), CommitError> {
        let descriptor = &manifest.descriptor;
        let content = Digest::of(&manifest.bytes);
        let path = self.path(&content);
        let io = |source| CommitError::Io { path: path.clone(), source };
        self.put_content(&content, repository, &manifest.bytes)?;
        let elsewhere = (content != descriptor.digest).then(|| content.to_string());
        let record = ManifestRecord { media_type: descriptor.media_type.clone(), content: elsewhere };
        let key = manifest_key(repository, &descriptor.digest);
        self.put(&self.changing(), &key, &content, descriptor.size, &record).map_err(io)?;
        // what it refers to is pinned from now on, if it is
        if self.table().pinned.contains(&descriptor.digest) {
            self.refresh_pins();
        }
        Ok(())
    }

    /// A manifest that `repository` was seen to have. Its bytes are checked: they are few, and clients act on them.
    pub fn manifest(&self, repository: &Repository, digest: &Digest) -> io::Result<Option<Manifest>> {
        let Some(record) = self.get::<ManifestRecord>(&manifest_key(repository, digest))? else {
            return Ok(None);
        };
        let content =
            record.content(digest).ok_or_else(|| io::Error::other("a record of a manifest names no digest"))?;
        let Some(reader) = self.read(&content)? else {
            return Ok(None);
        };
        let mut bytes = Vec::with_capacity(usize::try_from(reader.size).unwrap_or_default());
        io::Read::read_to_end(&mut &*reader.file, &mut bytes)?;
        let manifest = Manifest::named(record.media_type, Bytes::from(bytes), digest);
        if manifest.is_none() {
            self.quarantine(&content, Some(&reader.file));
        }
        Ok(manifest)
    }

    /// What the bytes of a manifest are kept under that `repository` was seen to have.
    pub(super) fn manifest_content(&self, repository: &Repository, digest: &Digest) -> io::Result<Option<Digest>> {
        let record = self.get::<ManifestRecord>(&manifest_key(repository, digest))?;
        Ok(record.and_then(|record| record.content(digest)))
    }

    /// Keeps what a tag points to for clients that accept `accept`.
    pub fn put_tag(
        &self,
        repository: &Repository,
        tag: &Tag,
        accept: &Accept,
        descriptor: &Descriptor,
    ) -> io::Result<()> {
        let key = tag_key(repository, tag);
        let changing = self.changing();
        let mut record = self.get::<TagRecord>(&key)?.unwrap_or_default();
        let entry = TagRecordEntry {
            accept: fingerprint(accept),
            media_type: descriptor.media_type.clone(),
            digest: descriptor.digest.to_string(),
            size: descriptor.size,
        };
        // an older manifest of the same question stays behind it: upstream may go before the newer one was fetched
        record.entries.retain(|other| (&other.accept, &other.digest) != (&entry.accept, &entry.digest));
        let mut older = 1;
        record.entries.retain(|other| {
            older += usize::from(other.accept == entry.accept);
            other.accept != entry.accept || older <= ENTRIES_OF_A_QUESTION
        });
        record.entries.insert(0, entry);
        record.entries.truncate(ENTRIES_OF_A_TAG);
        self.put(&changing, &key, &descriptor.digest, descriptor.size, &record)?;
        drop(changing);
        if self.is_pinned_tag(repository, tag) {
            self.refresh_pins();
        }
        Ok(())
    }

    /// Forgets what a tag pointed to for clients that accept `accept`, and all else that they could read: whoever was
    /// shown it. What they cannot read may well be there.
    pub fn remove_tag(&self, repository: &Repository, tag: &Tag, accept: &Accept) -> io::Result<()> {
        let (key, same) = (tag_key(repository, tag), fingerprint(accept));
        let changing = self.changing();
        let mut record = self.get::<TagRecord>(&key)?.unwrap_or_default();
        let before = record.entries.len();
        record.entries.retain(|entry| entry.accept != same && !accept.allows(&entry.media_type));
        match record.entries.first() {
            // nothing was known: nothing is written, or asking for what never was would fill the index
            _ if record.entries.len() == before => Ok(()),
            None => self.remove_record(&changing, &key),
            Some(first) => {
                let digest = first.digest.parse().map_err(io::Error::other)?;
                let size = first.size;
                self.put(&changing, &key, &digest, size, &record)
            }
        }
    }

    /// What a tag was last seen to point to, newest first.
    pub fn tag(&self, repository: &Repository, tag: &Tag, accept: &Accept) -> io::Result<Vec<TagEntry>> {
        let accept = fingerprint(accept);
        let record = self.get::<TagRecord>(&tag_key(repository, tag))?.unwrap_or_default();
        let entries = record.entries.into_iter().filter_map(|entry| {
            let digest = entry.digest.parse().ok()?;
            let descriptor = Descriptor { media_type: entry.media_type, digest, size: entry.size };
            Some(TagEntry { same_accept: entry.accept == accept, descriptor })
        });
        Ok(entries.collect())
    }

    /// What content of this digest was verified with, and where it came from.
    pub(super) fn record_content(
        &self,
        changing: &Changing<'_>,
        digest: &Digest,
        from: &Registry,
        size: u64,
    ) -> io::Result<()> {
        let record = ContentRecord { from: Some(from.to_string()) };
        self.put(changing, &content_key(digest), digest, size, &record)
    }

    /// The file of that record.
    pub(super) fn content_bucket(&self, digest: &Digest) -> PathBuf {
        buckets::bucket(self.dir(), &content_key(digest))
    }

    /// Writes a record, unless the same one is there.
    pub(super) fn put(
        &self,
        changing: &Changing<'_>,
        key: &str,
        digest: &Digest,
        size: u64,
        record: &impl Serialize,
    ) -> io::Result<()> {
        let integrity = Integrity::from_hex(digest.hex(), cacache::Algorithm::Sha256).map_err(io::Error::other)?;
        let size = usize::try_from(size).map_err(io::Error::other)?;
        let metadata = serde_json::to_value(record)?;
        let known = index::find(self.dir(), key).map_err(into_io)?;
        if known.is_some_and(|known| (known.size, &known.integrity, &known.metadata) == (size, &integrity, &metadata)) {
            return Ok(());
        }
        let options = WriteOpts::new().integrity(integrity).size(size).metadata(metadata);
        self.counted(changing, &buckets::bucket(self.dir(), key), || {
            index::insert(self.dir(), key, options).map(drop).map_err(into_io)
        })
    }

    /// Deletes a record for good, and the folders that held nothing else.
    pub(super) fn remove_record(&self, changing: &Changing<'_>, key: &str) -> io::Result<()> {
        let bucket = buckets::bucket(self.dir(), key);
        self.table().losses += 1;
        self.counted(changing, &bucket, || match fs::remove_file(&bucket) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => {
                prune(&bucket);
                Ok(())
            }
        })
    }

    /// Deletes the record of content that went.
    pub(super) fn remove_content_record(&self, changing: &Changing<'_>, digest: &Digest) {
        if let Err(error) = self.remove_record(changing, &content_key(digest)) {
            tracing::warn!(%digest, %error, "the record of content that is gone could not be deleted");
        }
    }

    pub(super) fn get<T: for<'de> Deserialize<'de>>(&self, key: &str) -> io::Result<Option<T>> {
        let found = index::find(self.dir(), key).map_err(into_io)?;
        // a record of another shape is one of an older program: as good as none
        Ok(found.and_then(|found| serde_json::from_value(found.metadata).ok()))
    }

    /// The manifests a tag was last seen to point to, newest first, whoever asked.
    pub(super) fn tag_digests(&self, repository: &Repository, tag: &Tag) -> io::Result<Vec<Digest>> {
        let record = self.get::<TagRecord>(&tag_key(repository, tag))?.unwrap_or_default();
        Ok(record.entries.iter().filter_map(|entry| entry.digest.parse().ok()).collect())
    }

    fn dir(&self) -> &Path {
        &self.inner().dir
    }
}

/// Deletes the two folders above a file of content or index if nothing is left in them.
pub(super) fn prune(file: &Path) {
    for folder in file.ancestors().skip(1).take(2) {
        // one that is not empty stays
        if fs::remove_dir(folder).is_err() {
            return;
        }
    }
}

/// A record of content: of which, and from where.
pub(super) fn content_of(record: &Record) -> Option<(Digest, Option<Registry>)> {
    let digest = record.key.strip_prefix("content ")?.parse().ok()?;
    let said = ContentRecord::deserialize(&record.metadata).unwrap_or_default();
    Some((digest, said.from.and_then(|from| from.parse().ok())))
}

/// A record of a manifest: of which repository, which, of what type, and what its bytes are kept under.
pub(super) fn manifest_of(record: &Record) -> Option<(Repository, Digest, MediaType, Digest)> {
    let (repository, digest) = record.key.strip_prefix("manifest ")?.split_once('@')?;
    let said = ManifestRecord::deserialize(&record.metadata).ok()?;
    let digest = digest.parse().ok()?;
    let content = said.content(&digest)?;
    Some((repository.parse().ok()?, digest, said.media_type, content))
}

/// A record of a tag: of which repository, which, and the manifests each kind of client was last shown.
pub(super) fn tag_of(record: &Record) -> Option<(Repository, Tag, Vec<Digest>)> {
    // a port has a colon too, a tag has none
    let (repository, tag) = record.key.strip_prefix("tag ")?.rsplit_once(':')?;
    let said = TagRecord::deserialize(&record.metadata).ok()?;
    let mut newest: Vec<&TagRecordEntry> = Vec::new();
    for entry in &said.entries {
        if newest.iter().all(|other| other.accept != entry.accept) {
            newest.push(entry);
        }
    }
    let mut digests: Vec<Digest> = newest.iter().filter_map(|entry| entry.digest.parse().ok()).collect();
    let mut seen = std::collections::HashSet::new();
    digests.retain(|digest| seen.insert(digest.clone()));
    Some((repository.parse().ok()?, tag.parse().ok()?, digests))
}

pub(super) fn content_key(digest: &Digest) -> String {
    format!("content {digest}")
}

pub(super) fn manifest_key(repository: &Repository, digest: &Digest) -> String {
    format!("manifest {repository}@{digest}")
}

pub(super) fn tag_key(repository: &Repository, tag: &Tag) -> String {
    format!("tag {repository}:{tag}")
}

fn fingerprint(accept: &Accept) -> String {
    accept.fingerprint()
}

fn into_io(error: cacache::Error) -> io::Error {
    match error {
        cacache::Error::IoError(error, _) => error,
        other => io::Error::other(other),
    }
}
