//! Why a pull was not served, and what the client is told: the one place where an error becomes a status.

use std::{io, sync::Arc};

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
        match self {
            Self::Upstream(error) => error.may_pass() || error.is_outage(),
            Self::GivenUp => true,
            Self::Commit(_) | Self::Store(_) => false,
        }
    }

    /// What a client is told about it. `missing` is the code of a thing that is not there.
    #[must_use]
    pub fn answer(&self, missing: Code) -> Answer {
        let (status, code, retry_after) = match self {
            Self::Upstream(error) => upstream_answer(error, missing),
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
        if let Self::Upstream(error) = self
            && let upstream::Error::Credentials(error) = &**error
        {
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
        upstream::Error::Unreachable { source, .. } => {
            let is_timeout = source.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::TimedOut);
            (if is_timeout { StatusCode::GATEWAY_TIMEOUT } else { StatusCode::BAD_GATEWAY }, Code::Unknown, None)
        }
        upstream::Error::Protocol { .. } => (StatusCode::BAD_GATEWAY, Code::Unknown, None),
    }
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
