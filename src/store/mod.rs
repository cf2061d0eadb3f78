//! The cache folder: the only module that touches it.
//!
//! ```text
//! <cache>/
//!   VERSION                     "1": the layout below; another number is refused, never converted silently
//!   CACHEDIR.TAG                tells backup programs that all of this can be fetched again
//!   lock                        held by the daemon for its life; the text inside says by whom
//!   control.sock                where the daemon is asked by commands of its owner: 0600, there while it runs
//!   content-v2/sha256/aa/bb/…   finished, verified content: blobs and manifests (cacache's content area)
//!   index-v5/…                  small records that change seldom: manifests, tags (cacache's index)
//!   tmp/                        cacache's own
//!   staging/                    bytes in flight; whatever lies here when the daemon starts is dropped
//!   tokens/                     authorization tokens, shared with the credential helper: 0700, files 0600
//! ```
//!
//! Content is placed by [`BlobWriter::commit`] alone: verify, fsync, rename, fsync of the folder. It is read by its path;
//! cacache's reader has no ranges, its writer no readers and no fsync. The time of the last read is the file's access
//! time, set by us: the index only grows per update, so what changes often stays out of it.
//!
//! All calls block: callers run them where blocking is allowed.

mod blobs;
mod condition;
mod folder;
mod inventory;
mod leases;
mod records;
mod socket;
mod sweep;
mod tokens;

use std::{io, path::PathBuf};

pub use blobs::{BlobReader, BlobStore, BlobWriter, CommitError};
pub use condition::{Condition, condition};
pub use inventory::{Image, Removed, Usage, Verified};
pub use records::TagEntry;
pub use socket::{ControlSocket, control_connect};
pub use sweep::{default_free, default_size};
pub use tokens::{Entry, Keeper, TokenKey, TokenStore, TokenStoreError};

/// Why the cache folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another daemon has it.
    #[error("the cache {} is in use by {holder}; stop it, or give this one another folder with [cache] dir", dir.display())]
    InUse {
        /// Which folder.
        dir: PathBuf,
        /// What the lock file says about who has it.
        holder: String,
    },
    /// Another version of the program laid it out.
    #[error("the cache {} has layout version {found:?}, this program knows {known}; delete the folder or give another one with [cache] dir", dir.display())]
    Version {
        /// Which folder.
        dir: PathBuf,
        /// What its VERSION file says.
        found: String,
        /// What it would have to say.
        known: &'static str,
    },
    /// The system refused something.
    #[error("cache folder {}", path.display())]
    Io {
        /// Which file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}
