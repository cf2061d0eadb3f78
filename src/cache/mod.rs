//! The pull-through cache: [`Cache::manifest`] and [`Cache::blob`].
//!
//! Answers from the store, fills the store from upstream, and says which it was. Knows nothing of the client's HTTP.

mod error;
mod extents;
mod fill;
mod fills;
mod manifest;

use std::{io, sync::Arc};

use tokio::task::spawn_blocking;

use crate::{
    config,
    oci::{Digest, Repository},
    store::{BlobReader, BlobStore},
    upstream::{Relayed, Upstream},
};

pub use error::{Answer, Error};
pub use fill::{FillReader, read_chunk};
pub use manifest::{ManifestAnswer, ManifestQuestion};

use fills::Fills;
use manifest::Tags;

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
}

impl Cache {
    /// A cache in `store`, filled from `upstream`.
    #[must_use]
    pub fn new(store: BlobStore, upstream: Upstream, config: &config::Cache) -> Arc<Self> {
        let upstream = Arc::new(upstream);
        let fills = Fills::new(store.clone(), Arc::clone(&upstream));
        Arc::new(Self { store, upstream, fills, tags: Tags::new(config) })
    }

    /// A blob, from the store or while it is fetched. The fetch goes on when the caller drops the answer.
    pub async fn blob(&self, repository: &Repository, digest: &Digest, client: &str) -> Result<Blob, Error> {
        if let Some(reader) = self.stored(digest).await {
            return Ok(Blob::Stored(reader));
        }
        let (fill, started) = self.fills.join(repository, digest, client);
        let (fill, started, size) = match fill.size().await {
            Ok(size) => (fill, started, size),
            // what one repository refuses, another may allow
            Err(_) if !started && fill.repository != *repository => {
                let (fill, started) = self.fills.join(repository, digest, client);
                let size = fill.size().await?;
                (fill, started, size)
            }
            Err(error) => return Err(error),
        };
        let status = if started { Status::Miss } else { Status::Join };
        Ok(Blob::Filling { reader: FillReader::new(fill, started), size, status })
    }

    /// The size of a blob, without fetching it: from the store, a download under way, or upstream.
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
        let size = self.upstream.blob_size(repository, digest, client).await.map_err(Arc::new)?;
        Ok((size, Status::Miss))
    }

    /// Passes a question on that is not for the cache, such as `tags/list?n=10`.
    pub async fn relay(&self, repository: &Repository, path: &str, client: &str) -> Result<Relayed, Error> {
        Ok(self.upstream.relay(repository, path, client).await.map_err(Arc::new)?)
    }

    /// Ends the downloads under way; what they fetched is dropped.
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
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    spawn_blocking(work).await.unwrap_or_else(|died| Err(io::Error::other(died)))
}
