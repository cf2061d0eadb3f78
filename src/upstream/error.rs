//! Why an upstream did not give what was asked: one variant for each answer a client can act on.
//!
//! Holds what the upstream said, never what we sent.

use std::{error, fmt, io, sync::Arc, time::Duration};

use hyper::{StatusCode, header::HeaderValue};

use crate::{
    credentials,
    oci::{Registry, UpstreamError},
};

type BoxError = Box<dyn error::Error + Send + Sync>;
/// A cause that everyone who waited for the same answer is told.
type SharedError = Arc<dyn error::Error + Send + Sync>;

/// Why an upstream did not give what was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// There is no credential to ask with.
    #[error("no credentials for the registry")]
    Credentials(#[source] Arc<credentials::Error>),
    /// The registry answered, and the answer is no.
    #[error("{0}")]
    Refused(Refusal),
    /// No answer: name resolution, connection, TLS, time, or an answer that broke off.
    #[error("{registry} cannot be reached (at {host})")]
    Unreachable {
        /// Which registry was asked.
        registry: Registry,
        /// Which host did not answer: the registry's own or the one it redirected to.
        host: String,
        /// What went wrong.
        #[source]
        source: SharedError,
    },
    /// An answer that the specification does not allow.
    #[error("{registry} sent an answer that cannot be used")]
    Protocol {
        /// Which registry.
        registry: Registry,
        /// What is wrong with it.
        #[source]
        source: SharedError,
    },
}

/// A registry's no, in its own words.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// Which registry.
    pub registry: Registry,
    /// With which status.
    pub status: StatusCode,
    /// Its code and message, as far as it sent any.
    pub said: UpstreamError,
    /// When to ask again, if it said so.
    pub retry_after: Option<HeaderValue>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.said.message.is_empty() {
            return write!(f, "{} answered {}", self.registry, self.status);
        }
        f.write_str(&self.said.message)
    }
}

impl Error {
    pub(super) fn protocol(registry: &Registry, source: impl Into<BoxError>) -> Self {
        Self::Protocol { registry: registry.clone(), source: Arc::from(source.into()) }
    }

    pub(super) fn unreachable(registry: &Registry, host: &str, source: impl Into<BoxError>) -> Self {
        Self::Unreachable { registry: registry.clone(), host: host.to_owned(), source: Arc::from(source.into()) }
    }

    pub(super) fn silent(registry: &Registry, host: &str, after: Duration) -> Self {
        let source = io::Error::new(io::ErrorKind::TimedOut, format!("silent for {after:?}"));
        Self::unreachable(registry, host, source)
    }

    /// A body that ended before its announced end.
    #[must_use]
    pub fn short(registry: &Registry, got: u64, want: u64) -> Self {
        let source = io::Error::new(io::ErrorKind::UnexpectedEof, format!("{got} of {want} bytes came"));
        Self::unreachable(registry, registry.as_str(), source)
    }

    /// A body that is not the one whose first part came before.
    #[must_use]
    pub fn changed(registry: &Registry, before: Option<u64>, now: Option<u64>) -> Self {
        let size = |size: Option<u64>| size.map_or_else(|| "an unknown number of".to_owned(), |size| size.to_string());
        Self::protocol(registry, format!("a blob of {} bytes went on as one of {} bytes", size(before), size(now)))
    }

    /// Bytes of another version than those that came before.
    #[must_use]
    pub fn other_version(registry: &Registry, host: &str) -> Self {
        let source = io::Error::other("the bytes are of another version (ETag) than those that came before");
        Self::unreachable(registry, host, source)
    }

    /// A part of a blob whose size is not told.
    #[must_use]
    pub fn unsized_part(registry: &Registry) -> Self {
        Self::protocol(registry, "a part came without the size of the whole")
    }

    /// Whether the same question may be answered a moment later. Not after a 429: asking again makes it worse.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused(refusal) => refusal.status.is_server_error(),
            Self::Credentials(_) | Self::Protocol { .. } => false,
        }
    }

    /// Whether the registry said that there is no such thing.
    #[must_use]
    pub fn is_absence(&self) -> bool {
        matches!(self, Self::Refused(refusal) if refusal.status == StatusCode::NOT_FOUND)
    }

    /// Whether the upstream is out of order or overloaded, rather than saying something about what was asked:
    /// then a cached answer may stand in for it.
    #[must_use]
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused(refusal) => is_outage(refusal.status),
            Self::Credentials(error) => error.is_outage(),
            Self::Protocol { .. } => false,
        }
    }
}

fn is_outage(status: StatusCode) -> bool {
    status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::REQUEST_TIMEOUT
}
