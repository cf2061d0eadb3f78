//! The cache folder: the only module that touches it.
//!
//! ```text
//! <cache>/
//!   VERSION                     "1": the layout below; another number is refused, never converted silently
//!   CACHEDIR.TAG                tells backup programs that all of this can be fetched again
//!   lock                        held by the daemon for its life; the text inside says by whom
//!   control.sock                where the daemon is asked by commands of its owner: 0600, there while it runs
//!   content-v2/sha256/aa/bb/…   finished, verified content: blobs and manifests (cacache's content area)
//!   index-v5/…                  small records that change seldom: content, manifests, tags, pins (cacache's index)
//!   tmp/                        what is being deleted; emptied at the start
//!   quarantine/<hex>            content that turned out wrong, for a day
//!   contacts                    when upstream last spoke of a manifest or tag
//!   running                     there while a daemon runs: one that is found at the start tells of a crash
//!   stopped                     there while none runs: content that was changed after it is in doubt
//!   staging/<hex>               bytes in flight, a sparse file; <hex>.journal beside it says which of them are there
//!   tokens/                     authorization tokens, shared with the credential helper: 0700, files 0600
//! ```
//!
//! Content is placed by [`VerifiedBlob::commit`] alone: verify, fsync, rename, fsync of the folder. It is read by its path;
//! cacache's reader has no ranges, its writer no readers and no fsync. The time of the last read is the file's access
//! time, that of the last verification its time of change, both set by us: the index only grows per update, so what
//! changes often stays out of it.
//!
//! What is there is known from one table in memory, made at the start and kept with every change. What was deleted or
//! changed behind the daemon's back is noticed when it is opened, and is fetched again.
//!
//! All calls block: callers run them where blocking is allowed.

mod beside;
mod blobs;
mod condition;
mod contacts;
mod contents;
mod folder;
mod garbage;
mod index;
mod inventory;
mod journal;
mod leases;
mod limits;
mod mark;
mod partials;
mod pins;
mod records;
mod referred;
mod scrub;
mod socket;
mod start;
mod sweep;
mod times;
mod tokens;
mod turns;
mod walk;
mod writer;

#[cfg(test)]
mod tests;

use std::{io, path::PathBuf};

pub use blobs::{BlobReader, BlobStore};
pub use condition::{Condition, condition};
pub use contacts::Contacts;
pub use inventory::{Image, Removed, Usage};
pub use journal::There;
pub use limits::{Limits, Quota, Quotas, default_free, default_size};
pub use partials::Partial;
pub use records::TagEntry;
pub use scrub::Verified;
pub use socket::{ControlSocket, control_connect};
pub use tokens::{Entry, Keeper, TokenKey, TokenStore, TokenStoreError};
pub use writer::{BlobWriter, CommitError, VerifiedBlob};

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
