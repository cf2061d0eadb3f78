//! The pull-through cache: [`Cache::manifest`] and [`Cache::blob`].
//!
//! Answers from the store, fills the store from upstream, and says which it was. Knows nothing of the client's HTTP.

mod ahead;
mod download;
mod error;
mod extents;
mod fetcher;
mod fill;
mod fills;
mod limits;
mod manifest;
mod plan;
mod reader;
mod recall;
mod records;
mod sizes;
mod tags;
mod touch;
mod width;

use std::{io, sync::Arc};

use tokio::{sync::Semaphore, task::spawn_blocking};

use crate::{
    config::Config,
    oci::{Digest, Repository},
    store::{BlobReader, BlobStore, Contacts},
    upstream::{Relayed, Upstream},
};

pub use error::{Answer, Error};
pub use manifest::{ManifestAnswer, ManifestQuestion};
pub use reader::{FillReader, Piece};

use fills::Fills;
use recall::Recall;
use sizes::Sizes;
use tags::Tags;

/// How an answer came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// From the store; for a tag, after upstream confirmed it or within the time it is believed.
    Hit,
    /// Fetched for this request.
    Miss,
    /// Fetched already, for an earlier request that is still under way.
    Join,
    /// From the store, because upstream is out of order.
    Stale,
    /// Not from or for the cache.
    Bypass,
}

impl Status {
    /// The word in the log and in the `X-Longshore-Cache` header.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Miss => "miss",
            Self::Join => "join",
            Self::Stale => "stale",
            Self::Bypass => "bypass",
        }
    }
}

/// A blob: finished, or on its way.
#[derive(Debug)]
pub enum Blob {
    /// Verified content.
    Stored(BlobReader),
    /// A download under way; the reader starts at the first byte.
    Filling {
        /// Follows the download.
        reader: FillReader,
        /// The size, when upstream told it.
        size: Option<u64>,
        /// `Miss` for the request that started it, `Join` for the others.
        status: Status,
    },
}

/// The cache of one daemon.
#[derive(Debug)]
pub struct Cache {
    store: BlobStore,
    upstream: Arc<Upstream>,
    fills: Fills,
    tags: Tags,
    fetches_ahead: bool,
    /// turns of those that are fetched ahead
    turns: Semaphore,
    sizes: Sizes,
    contacts: Arc<Contacts>,
    recall: Recall,
}

impl Cache {
    /// A cache in `store`, filled from `upstream`.
    #[must_use]
    pub fn new(store: BlobStore, upstream: Upstream, config: &Config) -> Arc<Self> {
        let upstream = Arc::new(upstream);
        let fills = Fills::new(store.clone(), Arc::clone(&upstream), config);
        let (fetches_ahead, turns) = (config.upstream.prefetch > 0, Semaphore::new(config.upstream.prefetch));
        let contacts = Arc::new(store.contacts());
        let (sizes, recall) = Default::default();
        let tags = Tags::new(&config.cache);
        Arc::new(Self { store, upstream, fills, tags, fetches_ahead, turns, sizes, contacts, recall })
    }

    /// A blob, from the store or while it is fetched. The fetch goes on when the caller drops the answer.
    pub async fn blob(&self, repository: &Repository, digest: &Digest, client: &str) -> Result<Blob, Error> {
        if let Some(reader) = self.stored(digest).await {
            return Ok(Blob::Stored(reader));
        }
        let mut reader = self.follow(repository, digest, client);
        let size = match reader.size().await {
            // what one repository refuses, another may allow
            Err(_) if !reader.started() && reader.repository() != repository => {
                reader = self.follow(repository, digest, client);
                reader.size().await?
            }
            size => size?,
        };
        let status = match (reader.started(), reader.is_verified()) {
            (true, _) => Status::Miss,
            (false, true) => Status::Hit,
            (false, false) => Status::Join,
        };
        Ok(Blob::Filling { reader, size, status })
    }

    /// Follows the download of a blob, which begins if there is none.
    fn follow(&self, repository: &Repository, digest: &Digest, client: &str) -> FillReader {
        let (fill, started) = self.fills.follow(repository, digest, self.known_size(digest), client);
        FillReader::new(fill, Arc::clone(&self.upstream), started)
    }

    /// The size of a blob, as the manifests say that passed lately; `None` when they do not, or disagree.
    #[must_use]
    pub fn known_size(&self, digest: &Digest) -> Option<u64> {
        self.sizes.of(digest)
    }

    /// The size of a blob, without fetching it: from the store, a download under way, the repository's manifests, or
    /// upstream.
    pub async fn blob_size(
        &self,
        repository: &Repository,
        digest: &Digest,
        client: &str,
    ) -> Result<(Option<u64>, Status), Error> {
        let (store, stored) = (self.store.clone(), digest.clone());
        if let Some(size) = look(move || store.size(&stored)).await {
            return Ok((Some(size), Status::Hit));
        }
        if let Some(fill) = self.fills.running(digest).filter(|fill| fill.repository == *repository) {
            return Ok((fill.size().await?, Status::Join));
        }
        if let Some(size) = self.sizes.of_blob_in(repository, digest).filter(|_| !self.upstream.is_offline()) {
            return Ok((Some(size), Status::Hit));
        }
        let size = self.upstream.blob_size(repository, digest, client).await.map_err(Arc::new)?;
        Ok((size, Status::Miss))
    }

    /// Passes a question on that is not for the cache, such as `tags/list?n=10`.
    pub async fn relay(&self, repository: &Repository, path: &str, client: &str) -> Result<Relayed, Error> {
        Ok(self.upstream.relay(repository, path, client).await.map_err(Arc::new)?)
    }

    /// Ends the downloads under way; what they fetched is there when they are asked for again.
    pub async fn stop(&self) {
        self.fills.stop().await;
    }

    async fn stored(&self, digest: &Digest) -> Option<BlobReader> {
        let (store, digest) = (self.store.clone(), digest.clone());
        look(move || store.read(&digest)).await
    }
}

/// Looks into the store. One that cannot be read has nothing: that is no reason to refuse a pull.
async fn look<T: Default + Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> T {
    blocking(work).await.unwrap_or_else(|error| {
        tracing::warn!(%error, "the cache folder cannot be read");
        T::default()
    })
}

/// Runs what blocks on the file system where blocking is allowed.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    spawn_blocking(work).await.unwrap_or_else(|died| Err(io::Error::other(died)))
}
