//! Why an upstream did not give what was asked: one variant for each answer a client can act on.
//!
//! Holds what the upstream said, never what we sent.

use std::{
    error, fmt, io,
    sync::Arc,
    time::{Duration, SystemTime},
};

use hyper::{StatusCode, header::HeaderValue};

use crate::{
    credentials,
    oci::{Registry, UpstreamError},
};

type BoxError = Box<dyn error::Error + Send + Sync>;
/// A cause that everyone who waited for the same answer is told.
pub(super) type SharedError = Arc<dyn error::Error + Send + Sync>;

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
    /// A host that did not answer lately is left alone for a while.
    #[error("{registry} cannot be reached: {host} did not answer{}, and is asked again in {} s", times(*failures), seconds(*rest))]
    Down {
        /// Which registry was to be asked.
        registry: Registry,
        /// Which host does not answer: the registry's own or the one it redirected to.
        host: String,
        /// How often in a row.
        failures: u32,
        /// For how long it is still left alone.
        rest: Duration,
        /// What went wrong the last time.
        #[source]
        source: SharedError,
    },
    /// The configuration says that nothing is asked.
    #[error("{registry} is not asked: offline mode is on ([cache] offline = true)")]
    Offline {
        /// Which registry was to be asked.
        registry: Registry,
    },
    /// An answer that is longer than what it was to hold can be.
    #[error("{registry} sent an answer that is longer than the {most} bytes it may have")]
    TooLarge {
        /// Which registry.
        registry: Registry,
        /// How long it may be.
        most: usize,
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

/// A host's answer that it is out of order.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("it answered {0}")]
pub(super) struct OutOfOrder(pub(super) StatusCode);

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

    /// Something in between answered in the registry's place, with content of the type `what`.
    pub(super) fn not_the_registry(registry: &Registry, what: &str) -> Self {
        let words = format!(
            "{what} came, which no registry sends: something in between answers in its place, such as the login page of \
             a guest network or a company's proxy; open a page in a browser to see it"
        );
        Self::protocol(registry, words)
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

    /// Whether the same question may be answered a moment later. Not after a 429: asking again makes it worse. Not while
    /// a host is left alone: [`retry_after`](Self::retry_after) tells when asking is of use.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused(refusal) => refusal.status.is_server_error(),
            Self::Credentials(_)
            | Self::Protocol { .. }
            | Self::Down { .. }
            | Self::Offline { .. }
            | Self::TooLarge { .. } => false,
        }
    }

    /// How long to wait before asking again, as the upstream said or as the host is left alone.
    #[must_use]
    pub fn retry_after(&self, now: SystemTime) -> Option<Duration> {
        match self {
            Self::Down { rest, .. } => Some(*rest),
            Self::Refused(refusal) => refusal.retry_after.as_ref().and_then(|value| wait(value.to_str().ok()?, now)),
            _ => None,
        }
    }

    /// Whether nobody was asked, because a host is left alone for a while.
    #[must_use]
    pub fn is_rest(&self) -> bool {
        matches!(self, Self::Down { .. })
    }

    /// Whether a host is left alone that is there: it did answer, if only that it is out of order.
    pub(super) fn is_rest_of_one_that_answers(&self) -> bool {
        matches!(self, Self::Down { source, .. } if (**source).is::<OutOfOrder>())
    }

    /// Why there was no answer, if there was none.
    pub(super) fn cause(&self) -> Option<&SharedError> {
        match self {
            Self::Unreachable { source, .. } => Some(source),
            _ => None,
        }
    }

    /// Whether time ran out while waiting for an answer or a connection.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        let Self::Unreachable { source, .. } = self else {
            return false;
        };
        let mut causes =
            std::iter::successors(Some(&**source as &(dyn error::Error + 'static)), |cause| cause.source());
        causes.any(|cause| cause.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::TimedOut))
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
            // an answer that is none, such as a guest network's login page, says nothing of what was asked
            Self::Unreachable { .. } | Self::Down { .. } | Self::Offline { .. } | Self::Protocol { .. } => true,
            Self::Refused(refusal) => is_outage(refusal.status),
            Self::Credentials(error) => error.is_outage(),
            Self::TooLarge { .. } => false,
        }
    }
}

/// Whether a status comes from something that is out of order, or from something else than the registry.
fn is_outage(status: StatusCode) -> bool {
    let passing =
        [StatusCode::TOO_MANY_REQUESTS, StatusCode::REQUEST_TIMEOUT, StatusCode::PROXY_AUTHENTICATION_REQUIRED];
    status.is_server_error() || status.is_redirection() || passing.contains(&status)
}

/// What a `Retry-After` means (RFC 9110 section 10.2.3): seconds, or a date.
fn wait(text: &str, now: SystemTime) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    Some(SystemTime::from(at).duration_since(now).unwrap_or_default())
}

fn times(failures: u32) -> String {
    if failures > 1 { format!(" {failures} times in a row") } else { String::new() }
}

/// Whole seconds, none too few.
fn seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}
