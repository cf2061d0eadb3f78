//! Small records in cacache's index: the size of content, which manifests a repository has, what its tags point to.
//!
//! A record is written when its fact changes, never when it is merely confirmed: the index only grows per update.

use std::{io, path::Path, sync::Mutex};

use bytes::Bytes;
use cacache::{Integrity, WriteOpts, index};
use serde::{Deserialize, Serialize};

use super::{BlobStore, CommitError};
use crate::oci::{Accept, Descriptor, Digest, Manifest, MediaType, Repository, Tag};

/// What a tag pointed to, for clients that accept a certain set of media types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagEntry {
    /// Whether it was this question's own set of media types that was answered with it.
    pub same_accept: bool,
    /// The manifest the tag pointed to.
    pub descriptor: Descriptor,
}

/// What content was verified with; its size is the record's own.
#[derive(Serialize, Deserialize)]
struct ContentRecord {}

#[derive(Serialize, Deserialize)]
struct ManifestRecord {
    media_type: MediaType,
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
/// Records are read, changed and written one at a time.
static WRITING: Mutex<()> = Mutex::new(());

impl BlobStore {
    /// Keeps a manifest that `repository` was seen to have.
    pub fn put_manifest(&self, repository: &Repository, manifest: &Manifest) -> Result<(), CommitError> {
        let descriptor = &manifest.descriptor;
        let path = self.path(&descriptor.digest);
        let io = |source| CommitError::Io { path: path.clone(), source };
        let mut writer = self.write(&descriptor.digest).map_err(io)?;
        writer.write(&manifest.bytes).map_err(io)?;
        writer.commit()?;
        let record = ManifestRecord { media_type: descriptor.media_type.clone() };
        self.put(&manifest_key(repository, &descriptor.digest), &descriptor.digest, descriptor.size, &record)
            .map_err(io)
    }

    /// A manifest that `repository` was seen to have. Its bytes are checked: they are few, and clients act on them.
    pub fn manifest(&self, repository: &Repository, digest: &Digest) -> io::Result<Option<Manifest>> {
        let Some(record) = self.get::<ManifestRecord>(&manifest_key(repository, digest))? else {
            return Ok(None);
        };
        let Some(reader) = self.read(digest)? else {
            return Ok(None);
        };
        let mut bytes = Vec::with_capacity(usize::try_from(reader.size).unwrap_or_default());
        io::Read::read_to_end(&mut &*reader.file, &mut bytes)?;
        let manifest = Manifest::new(record.media_type, Bytes::from(bytes));
        if manifest.descriptor.digest != *digest {
            tracing::warn!(%repository, %digest, "a cached manifest is damaged and is fetched again");
            self.remove(digest)?;
            return Ok(None);
        }
        Ok(Some(manifest))
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
        let _writing = WRITING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
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
        self.put(&key, &descriptor.digest, descriptor.size, &record)
    }

    /// Forgets what a tag pointed to for clients that accept `accept`.
    pub fn remove_tag(&self, repository: &Repository, tag: &Tag, accept: &Accept) -> io::Result<()> {
        let (key, accept) = (tag_key(repository, tag), fingerprint(accept));
        let _writing = WRITING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut record = self.get::<TagRecord>(&key)?.unwrap_or_default();
        let before = record.entries.len();
        record.entries.retain(|entry| entry.accept != accept);
        match record.entries.first() {
            // nothing was known: nothing is written, or asking for what never was would fill the index
            _ if record.entries.len() == before => Ok(()),
            None => index::delete(self.dir(), &key).map_err(into_io),
            Some(first) => {
                let digest = first.digest.parse().map_err(io::Error::other)?;
                let size = first.size;
                self.put(&key, &digest, size, &record)
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

    /// The size that content of this digest was verified with.
    pub(super) fn recorded_size(&self, digest: &Digest) -> io::Result<Option<u64>> {
        let found = index::find(self.dir(), &content_key(digest)).map_err(into_io)?;
        Ok(found.map(|found| found.size as u64))
    }

    pub(super) fn record_size(&self, digest: &Digest, size: u64) -> io::Result<()> {
        self.put(&content_key(digest), digest, size, &ContentRecord {})
    }

    /// Writes a record, unless the same one is there.
    pub(super) fn put(&self, key: &str, digest: &Digest, size: u64, record: &impl Serialize) -> io::Result<()> {
        let integrity = Integrity::from_hex(digest.hex(), cacache::Algorithm::Sha256).map_err(io::Error::other)?;
        let size = usize::try_from(size).map_err(io::Error::other)?;
        let metadata = serde_json::to_value(record)?;
        let known = index::find(self.dir(), key).map_err(into_io)?;
        if known.is_some_and(|known| (known.size, &known.integrity, &known.metadata) == (size, &integrity, &metadata)) {
            return Ok(());
        }
        let options = WriteOpts::new().integrity(integrity).size(size).metadata(metadata);
        index::insert(self.dir(), key, options).map(drop).map_err(into_io)
    }

    fn get<T: for<'de> Deserialize<'de>>(&self, key: &str) -> io::Result<Option<T>> {
        let found = index::find(self.dir(), key).map_err(into_io)?;
        // a record of another shape is one of an older program: as good as none
        Ok(found.and_then(|found| serde_json::from_value(found.metadata).ok()))
    }

    fn dir(&self) -> &Path {
        &self.inner().dir
    }
}

fn content_key(digest: &Digest) -> String {
    format!("content {digest}")
}

fn manifest_key(repository: &Repository, digest: &Digest) -> String {
    format!("manifest {repository}@{digest}")
}

fn tag_key(repository: &Repository, tag: &Tag) -> String {
    format!("tag {repository}:{tag}")
}

fn fingerprint(accept: &Accept) -> String {
    Digest::of(accept.as_str().as_bytes()).hex()[..16].to_owned()
}

fn into_io(error: cacache::Error) -> io::Error {
    match error {
        cacache::Error::IoError(error, _) => error,
        other => io::Error::other(other),
    }
}
