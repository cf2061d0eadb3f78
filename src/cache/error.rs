//! Why a pull was not served, and what the client is told: the one place where an error becomes a status.

use std::{
    io,
    sync::Arc,
    time::{Duration, SystemTime},
};

use hyper::{StatusCode, header::HeaderValue};

use crate::{
    chain::chain,
    credentials,
    ecr::MintErrorKind,
    oci::Code,
    store::CommitError,
    upstream::{self, Refusal},
};

/// Why a pull was not served. Cheap to clone: everyone who waited is told the same.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The upstream did not give it.
    #[error(transparent)]
    Upstream(#[from] Arc<upstream::Error>),
    /// Upstream was needed, for want of a cached answer, and is out of order.
    #[error("{what} is not in the cache")]
    Uncached {
        /// What was asked for.
        what: String,
        /// Why upstream did not give it.
        #[source]
        source: Arc<upstream::Error>,
    },
    /// What the upstream gave could not be made content.
    #[error(transparent)]
    Commit(Arc<CommitError>),
    /// The cache folder did not do its part.
    #[error("cache folder")]
    Store(#[source] Arc<io::Error>),
    /// The download was given up: the daemon is stopping.
    #[error("the work was given up: the daemon is stopping, or made a mistake that its log tells of")]
    GivenUp,
}

/// What a client is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status of the answer.
    pub status: StatusCode,
    /// The code of the specification.
    pub code: Code,
    /// Words for the person.
    pub message: String,
    /// When to ask again, if the upstream said so.
    pub retry_after: Option<HeaderValue>,
}

impl Error {
    pub(super) fn store(source: io::Error) -> Self {
        Self::Store(Arc::new(source))
    }

    /// Whether what came so far is of use when somebody asks again.
    pub(super) fn is_passing(&self) -> bool {
        // an answer that cannot be right may have spoilt what came before it, and what is gone does not come back
        let is_of_no_use =
            |error: &upstream::Error| matches!(error, upstream::Error::Protocol { .. }) || error.is_absence();
        matches!(self, Self::GivenUp) || self.upstream().is_some_and(|error| !is_of_no_use(error))
    }

    /// What the upstream said, if it is because of that.
    #[must_use]
    pub fn upstream(&self) -> Option<&upstream::Error> {
        match self {
            Self::Upstream(error) | Self::Uncached { source: error, .. } => Some(error),
            Self::Commit(_) | Self::Store(_) | Self::GivenUp => None,
        }
    }

    /// Names what was asked for, where upstream's being out of order is why it is not to be had.
    pub(super) fn about(self, what: impl FnOnce() -> String) -> Self {
        match self {
            Self::Upstream(source) if source.is_outage() => Self::Uncached { what: what(), source },
            error => error,
        }
    }

    /// What a client is told about it. `missing` is the code of a thing that is not there.
    #[must_use]
    pub fn answer(&self, missing: Code) -> Answer {
        let (status, code, retry_after) = match self {
            Self::Upstream(error) | Self::Uncached { source: error, .. } => upstream_answer(error, missing),
            Self::Commit(error) => match **error {
                CommitError::Corrupt { .. } => (StatusCode::BAD_GATEWAY, Code::Unknown, None),
                CommitError::Io { .. } => (StatusCode::INTERNAL_SERVER_ERROR, Code::Unknown, None),
            },
            Self::Store(_) => (StatusCode::INTERNAL_SERVER_ERROR, Code::Unknown, None),
            Self::GivenUp => (StatusCode::SERVICE_UNAVAILABLE, Code::Unknown, None),
        };
        Answer { status, code, message: self.message(), retry_after }
    }

    /// The error with its causes on one line, and the remedy if there is one.
    #[must_use]
    pub fn message(&self) -> String {
        let mut message = chain(self);
        if let Some(upstream::Error::Credentials(error)) = self.upstream() {
            message.push_str("; ");
            message.push_str(error.remedy());
        }
        message
    }
}

type Told = (StatusCode, Code, Option<HeaderValue>);

fn upstream_answer(error: &upstream::Error, missing: Code) -> Told {
    match error {
        upstream::Error::Refused(refusal) => refusal_answer(refusal, missing),
        upstream::Error::Credentials(error) => (credentials_answer(error), Code::Unauthorized, None),
        upstream::Error::Unreachable { .. } if error.is_timeout() => (StatusCode::GATEWAY_TIMEOUT, Code::Unknown, None),
        upstream::Error::Down { .. } => (StatusCode::SERVICE_UNAVAILABLE, Code::Unknown, Some(seconds(error))),
        // what a cache answers that may not ask (RFC 9111 section 5.2.1.7)
        upstream::Error::Offline { .. } => (StatusCode::GATEWAY_TIMEOUT, Code::Unknown, None),
        upstream::Error::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, Code::SizeInvalid, None),
        upstream::Error::Unreachable { .. } | upstream::Error::Protocol { .. } => {
            (StatusCode::BAD_GATEWAY, Code::Unknown, None)
        }
    }
}

/// When it is of use to ask again, in whole seconds.
fn seconds(error: &upstream::Error) -> HeaderValue {
    let wait = error.retry_after(SystemTime::now()).unwrap_or(Duration::ZERO);
    HeaderValue::from((wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1))
}

fn refusal_answer(refusal: &Refusal, missing: Code) -> Told {
    match refusal.status {
        StatusCode::UNAUTHORIZED => (StatusCode::UNAUTHORIZED, Code::Unauthorized, None),
        StatusCode::FORBIDDEN => (StatusCode::FORBIDDEN, Code::Denied, None),
        StatusCode::NOT_FOUND if refusal.said.code == Code::NameUnknown.as_str() => {
            (StatusCode::NOT_FOUND, Code::NameUnknown, None)
        }
        StatusCode::NOT_FOUND => (StatusCode::NOT_FOUND, missing, None),
        StatusCode::TOO_MANY_REQUESTS => {
            (StatusCode::TOO_MANY_REQUESTS, Code::TooManyRequests, refusal.retry_after.clone())
        }
        StatusCode::SERVICE_UNAVAILABLE => {
            (StatusCode::SERVICE_UNAVAILABLE, Code::Unknown, refusal.retry_after.clone())
        }
        // a token that stays refused after it was renewed
        StatusCode::BAD_REQUEST if refusal.said.is_about_the_token() => {
            (StatusCode::UNAUTHORIZED, Code::Unauthorized, None)
        }
        _ => (StatusCode::BAD_GATEWAY, Code::Unknown, None),
    }
}

fn credentials_answer(error: &credentials::Error) -> StatusCode {
    match error {
        credentials::Error::Mint { source, .. } => match source.kind {
            MintErrorKind::NoCredentials
            | MintErrorKind::CredentialsFailed
            | MintErrorKind::MfaNeeded
            | MintErrorKind::Refused => StatusCode::UNAUTHORIZED,
            MintErrorKind::Throttled => StatusCode::TOO_MANY_REQUESTS,
            MintErrorKind::Unreachable | MintErrorKind::Silent | MintErrorKind::Malformed => StatusCode::BAD_GATEWAY,
        },
        credentials::Error::Remembered { failure, .. } if failure.is_bare => StatusCode::UNAUTHORIZED,
        credentials::Error::Remembered { .. } => StatusCode::BAD_GATEWAY,
        credentials::Error::Store(_) | credentials::Error::Password { .. } | credentials::Error::GivenUp(_) => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
    }
}
