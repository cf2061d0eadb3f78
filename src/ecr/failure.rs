//! Why no token could be minted, in words a person can act on.
//!
//! Every failure has one line of cause and one of remedy, chosen by what AWS and the network said; nothing is retried here.

use std::{error::Error, fmt};

use aws_sdk_ecr::{
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
};

use super::{
    Mfa,
    network::{of_network, said},
};

/// Why no token could be minted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MintError {
    /// The class that decides what is done about it.
    pub kind: MintErrorKind,
    /// What AWS or the network said, on one line.
    pub cause: String,
    /// What a person can do about it, on one line.
    pub remedy: String,
    /// The device whose one-time code would do.
    pub mfa: Option<Box<Mfa>>,
}

/// The classes of failure that are handled differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MintErrorKind {
    /// Nothing in the chain has credentials.
    NoCredentials,
    /// A source of credentials is configured but gave none.
    CredentialsFailed,
    /// A one-time code is needed, and was not at hand.
    MfaNeeded,
    /// AWS refused the identity.
    Refused,
    /// AWS asks for fewer calls.
    Throttled,
    /// No answer: name resolution, connection, TLS.
    Unreachable,
    /// A connection, but no answer in time.
    Silent,
    /// An answer that is not an authorization token.
    Malformed,
}

impl MintError {
    pub(super) fn new(kind: MintErrorKind, cause: impl AsRef<str>, remedy: impl Into<String>) -> Self {
        let cause = cause.as_ref().split_whitespace().collect::<Vec<_>>().join(" ");
        Self { kind, cause, remedy: remedy.into(), mfa: None }
    }

    pub(super) fn malformed(cause: impl AsRef<str>) -> Self {
        let remedy = "something between here and AWS changes answers (a sign-in page of the network, a proxy, \
                      AWS_ENDPOINT_URL_ECR): open a page in a browser, then try again";
        Self::new(MintErrorKind::Malformed, cause, remedy)
    }

    pub(super) fn credentials(cause: impl AsRef<str>, remedy: impl Into<String>) -> Self {
        Self::new(MintErrorKind::CredentialsFailed, cause, remedy)
    }

    /// Nothing was found anywhere.
    pub(super) fn no_credentials() -> Self {
        let remedy = "configure AWS credentials: `aws configure`, `aws sso login`, AWS_PROFILE or AWS_ACCESS_KEY_ID";
        Self::new(MintErrorKind::NoCredentials, "no AWS credentials were found", remedy)
    }

    /// The answer did not come in time.
    #[must_use]
    pub fn silent(cause: impl AsRef<str>) -> Self {
        let remedy =
            "something accepts connections and does not answer: check the network, HTTPS_PROXY and the endpoint";
        Self::new(MintErrorKind::Silent, cause, remedy)
    }
}

impl fmt::Display for MintError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.cause)
    }
}

impl Error for MintError {}

/// What went wrong in a call of an AWS API; `action` is the call's name.
pub(super) fn of_call<E>(action: &str, error: &SdkError<E, HttpResponse>) -> MintError
where
    E: ProvideErrorMetadata + Error + 'static,
{
    match error {
        SdkError::ServiceError(service) => match service.err().code() {
            Some(code) => of_answer(action, code, service.err().message().unwrap_or("no message")),
            None => of_page(action, service.raw().status().as_u16()),
        },
        SdkError::ResponseError(broken) if said(error).contains("connection") => {
            let cause = format!("{action}: the answer broke off (HTTP {})", broken.raw().status().as_u16());
            let remedy = "try again; if it stays so, check the network and HTTPS_PROXY";
            MintError::new(MintErrorKind::Unreachable, cause, remedy)
        }
        SdkError::ResponseError(_) => {
            MintError::malformed(format!("{action}: the answer is not AWS's: {}", said(error)))
        }
        SdkError::TimeoutError(_) => MintError::silent(format!("{action}: no answer: {}", said(error))),
        _ => of_network(action, error),
    }
}

/// An answer that does not say what is wrong in AWS's way.
fn of_page(action: &str, status: u16) -> MintError {
    if status >= 500 {
        let remedy =
            "AWS, or a proxy on the way to it, is out of order; try again, and see https://health.aws.amazon.com";
        return MintError::new(MintErrorKind::Unreachable, format!("{action}: HTTP {status} and no reason"), remedy);
    }
    MintError::malformed(format!("{action}: HTTP {status} with something that is not AWS's answer"))
}

/// What an API answered instead of what was asked for.
fn of_answer(action: &str, code: &str, message: &str) -> MintError {
    use MintErrorKind::{CredentialsFailed, Malformed, Refused, Throttled, Unreachable};
    let cause = format!("{action}: {code}: {message}");
    let is_skew = ["Signature expired", "Signature not yet current"].iter().any(|words| message.contains(words));
    let (kind, remedy) = match code {
        "RequestTimeTooSkewed" | "RequestExpired" | "RequestInTheFuture" => (Refused, CLOCK),
        "InvalidSignatureException" | "SignatureDoesNotMatch" if is_skew => (Refused, CLOCK),
        "InvalidSignatureException" | "SignatureDoesNotMatch" => {
            (Refused, "the secret access key does not belong to the access key id: enter it again with `aws configure`")
        }
        "UnrecognizedClientException" | "InvalidClientTokenId" => (
            Refused,
            "AWS does not know the access key: it was deleted or mistyped, or the region has to be enabled for the account; \
             check with: aws sts get-caller-identity",
        ),
        "OptInRequired" => (Refused, "enable the region for the account, or pull from a registry in another region"),
        "ExpiredTokenException" | "ExpiredToken" => {
            (CredentialsFailed, "the session is over: sign in again (`aws sso login`, or new AWS_SESSION_TOKEN)")
        }
        "InvalidIdentityToken" | "IDPRejectedClaim" => (
            CredentialsFailed,
            "the role's trust policy or the identity provider does not take the web identity token: compare its issuer, \
             audience and subject with the role's trust policy",
        ),
        "ThrottlingException" | "TooManyRequestsException" | "Throttling" | "RequestLimitExceeded" => {
            (Throttled, "AWS limits calls per account and region; try again in a few seconds")
        }
        "ServerException" | "InternalFailure" | "ServiceUnavailable" | "InternalServerException" => {
            (Unreachable, "AWS has a problem of its own; try again, and see https://health.aws.amazon.com")
        }
        "AccessDenied" if message.contains("unable to validate MFA code") => {
            (Refused, "mfa_serial must be a device of this user; see: aws iam list-mfa-devices")
        }
        "AccessDenied" | "AccessDeniedException" if message.contains("MultiFactorAuthentication") => (
            MintErrorKind::MfaNeeded,
            "the code was wrong or has been used before: wait for the next one and try again",
        ),
        "AccessDenied" | "AccessDeniedException" if action == "AssumeRole" => (
            Refused,
            "the role must trust this identity (with external_id and mfa_serial, if it asks for them), and the identity needs \
             sts:AssumeRole on it; see who it is with: aws sts get-caller-identity",
        ),
        "AccessDenied" | "AccessDeniedException" if action.starts_with("AssumeRoleWithWebIdentity") => {
            (Refused, "the role's trust policy must name this identity provider, audience and subject")
        }
        "ValidationError" if message.contains("DurationSeconds") || message.contains("durationSeconds") => (
            Refused,
            "shorten duration (duration_seconds in a profile) to what the role allows: its maximum session duration, and one \
             hour when it is assumed from another role",
        ),
        "UnknownOperationException" => (Malformed, "the endpoint is not the ECR API; check AWS_ENDPOINT_URL_ECR"),
        _ if action != "GetAuthorizationToken" => {
            (Refused, "see who it is with: aws sts get-caller-identity, and what the AWS configuration asks for")
        }
        _ => (
            Refused,
            "the identity needs ecr:GetAuthorizationToken on *; see who it is with: aws sts get-caller-identity",
        ),
    };
    MintError::new(kind, cause, remedy)
}

pub(super) const CLOCK: &str = "this machine's clock is wrong; set it: sudo timedatectl set-ntp true";
