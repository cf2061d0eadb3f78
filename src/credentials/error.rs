//! Why there is no credential, and what a person can do about it.
//!
//! Holds no secret: an error is logged and shown as it is.

use std::{io, path::PathBuf, time::Duration};

use super::{Failure, Wanted};
use crate::{
    ecr::{MintError, MintErrorKind},
    flight::GivenUp,
    store::TokenStoreError,
};

/// Why there is no credential.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// ECR or the AWS credential chain gave none.
    #[error("{wanted}: {source}")]
    Mint {
        /// The token that was wanted.
        wanted: Box<Wanted>,
        /// Why there is none.
        source: MintError,
    },
    /// The last attempt failed a moment ago, and nothing has changed since.
    #[error("{wanted}: {}", failure.cause)]
    Remembered {
        /// The token that was wanted.
        wanted: Box<Wanted>,
        /// Why there is none.
        failure: Failure,
        /// How long it is not tried again; a person may at once.
        wait: Duration,
        /// What to do about it.
        remedy: String,
    },
    /// The token store is not to be trusted.
    #[error(transparent)]
    Store(TokenStoreError),
    /// The configured password cannot be read.
    #[error("password file {}", path.display())]
    Password {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The task that minted went away.
    #[error("minting: {0}")]
    GivenUp(GivenUp),
}

impl Error {
    pub(super) fn remembered(wanted: &Wanted, failure: Failure, wait: Duration) -> Self {
        let remedy = format!(
            "{} (not tried again for {} s; at once: longshore login REGISTRY)",
            failure.remedy,
            wait.as_secs().max(1)
        );
        Self::Remembered { wanted: Box::new(wanted.clone()), failure, wait, remedy }
    }

    /// Whether this says that something is out of order, rather than that the identity lacks a right.
    #[must_use]
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Mint { source, .. } => {
                matches!(source.kind, MintErrorKind::Unreachable | MintErrorKind::Silent | MintErrorKind::Throttled)
            }
            Self::Remembered { failure, .. } => !failure.is_bare,
            _ => false,
        }
    }

    /// Whether nothing in the chain has credentials.
    #[must_use]
    pub fn is_bare(&self) -> bool {
        match self {
            Self::Mint { source, .. } => source.kind == MintErrorKind::NoCredentials,
            Self::Remembered { failure, .. } => failure.is_bare,
            _ => false,
        }
    }

    /// What a person can do about it.
    #[must_use]
    pub fn remedy(&self) -> &str {
        match self {
            Self::Mint { source, .. } => &source.remedy,
            Self::Remembered { remedy, .. } => remedy,
            Self::Store(_) => "mend the token store as said",
            Self::Password { .. } => {
                "make the file readable for this user, or correct password_file in the configuration"
            }
            Self::GivenUp(_) => "try again",
        }
    }
}
