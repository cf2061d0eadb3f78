//! What is asked and answered, as JSON: the same words on the socket and in `--json` of the command line.

use std::net::SocketAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::store::{Image, Removed, Usage, Verified};

/// What is to be done.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// Say where pulls are served.
    Address,
    /// List the images, those read last first.
    Images,
    /// Say what the cache takes of the disk.
    Usage,
    /// Remove an image.
    Remove {
        /// Its name as it was typed.
        image: String,
    },
    /// Make an image stay, or no longer.
    Pin {
        /// Its name as it was typed.
        image: String,
        /// Whether it shall stay.
        on: bool,
    },
    /// Delete what nothing refers to.
    CollectGarbage,
    /// Compare all content with its digest.
    Verify,
}

/// What came of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Where pulls are served.
    Address(Option<SocketAddr>),
    /// The images.
    Images(Vec<ImageWords>),
    /// What the cache takes of the disk.
    Usage(UsageWords),
    /// What went; `None`: no such image is here.
    Removed(Option<RemovedWords>),
    /// What was pinned, or is no longer; `None`: no such image is here, or it was not pinned.
    Pinned(Option<String>),
    /// What the check found.
    Verified(VerifiedWords),
}

/// An image.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ImageWords {
    /// Registry and repository.
    pub repository: String,
    /// The tags that were last seen to point to it.
    pub tags: Vec<String>,
    /// Its manifest or index.
    pub digest: String,
    /// What that is.
    pub media_type: String,
    /// Bytes of all of it that is here.
    pub size: u64,
    /// Whether all of it is here.
    pub complete: bool,
    /// Whether it stays.
    pub pinned: bool,
    /// When it was read last.
    pub read_at: Timestamp,
}

/// What the cache takes of the disk, in bytes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct UsageWords {
    /// As du(1) counts.
    pub total: u64,
    /// Finished content.
    pub content: u64,
    /// In flight.
    pub staging: u64,
    /// Records and everything else.
    pub records: u64,
    /// Content of pinned images.
    pub pinned: u64,
    /// How many pieces of content.
    pub objects: u64,
    /// What may be kept.
    pub bound: u64,
    /// What stays free of the disk.
    pub min_free: u64,
    /// What each registry brought.
    pub registries: Vec<(String, u64)>,
}

/// What went.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct RemovedWords {
    /// Manifests and indexes.
    pub manifests: u64,
    /// Configs and layers.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What a check of all content found.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct VerifiedWords {
    /// How many pieces of content were read.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Digests of what was damaged.
    pub damaged: Vec<String>,
}

impl From<Image> for ImageWords {
    fn from(image: Image) -> Self {
        Self {
            repository: image.repository.to_string(),
            tags: image.tags.iter().map(ToString::to_string).collect(),
            digest: image.digest.to_string(),
            media_type: image.media_type.to_string(),
            size: image.size,
            complete: image.is_complete,
            pinned: image.is_pinned,
            // a file from before the calendar began was never read
            read_at: image.read_at.try_into().unwrap_or_default(),
        }
    }
}

impl From<Usage> for UsageWords {
    fn from(usage: Usage) -> Self {
        let Usage { content, staging, records, total, bound, min_free, pinned, objects, registries } = usage;
        Self { total, content, staging, records, pinned, objects, bound, min_free, registries }
    }
}

impl From<Removed> for RemovedWords {
    fn from(Removed { manifests, blobs, bytes }: Removed) -> Self {
        Self { manifests, blobs, bytes }
    }
}

impl From<Verified> for VerifiedWords {
    fn from(found: Verified) -> Self {
        let damaged = found.damaged.iter().map(ToString::to_string).collect();
        Self { objects: found.objects, bytes: found.bytes, damaged }
    }
}
