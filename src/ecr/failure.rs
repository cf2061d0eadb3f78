//! Why no token could be minted, in words a person can act on.
//!
//! Every failure has one line of cause and one of remedy, chosen by what AWS and the network said; nothing is retried here.

use std::{error::Error, fmt, io};

use aws_sdk_ecr::error::{ProvideErrorMetadata, SdkError};

use super::Mfa;
use crate::chain::chain;

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
pub(super) fn of_call<E, R>(action: &str, error: &SdkError<E, R>) -> MintError
where
    E: ProvideErrorMetadata + Error + 'static,
    R: fmt::Debug + 'static,
{
    match error {
        SdkError::ServiceError(service) => {
            let code = service.err().code().unwrap_or_default();
            let message = service.err().message().unwrap_or("no message");
            of_answer(action, code, message)
        }
        SdkError::ResponseError(_) => {
            MintError::malformed(format!("{action}: the answer is not AWS's: {}", chain(error)))
        }
        SdkError::TimeoutError(_) => MintError::silent(format!("{action}: no answer: {}", chain(error))),
        _ => of_network(action, error),
    }
}

/// What STS answered inside one of the SDK's own sources.
pub(super) fn of_answer_of_sts(error: &(dyn Error + 'static)) -> Option<MintError> {
    use aws_sdk_sts::operation::{
        assume_role::AssumeRoleError, assume_role_with_web_identity::AssumeRoleWithWebIdentityError,
    };
    sources(error).find_map(|source| {
        let web = source.downcast_ref::<AssumeRoleWithWebIdentityError>();
        let web = web.map(|error| ("AssumeRoleWithWebIdentity", error.meta()));
        let role = || source.downcast_ref::<AssumeRoleError>().map(|error| ("AssumeRole", error.meta()));
        let (action, meta) = web.or_else(role)?;
        Some(of_answer(action, meta.code()?, meta.message().unwrap_or("no message")))
    })
}

/// What an API answered instead of what was asked for.
fn of_answer(action: &str, code: &str, message: &str) -> MintError {
    use MintErrorKind::{CredentialsFailed, Malformed, Refused, Throttled, Unreachable};
    if code.is_empty() {
        return MintError::malformed(format!("{action}: an answer without an error code, which is not AWS's"));
    }
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
        "AccessDenied" | "AccessDeniedException" if message.contains("MultiFactorAuthentication") => (
            MintErrorKind::MfaNeeded,
            "the code was wrong or has been used before: wait for the next one and try again",
        ),
        "AccessDenied" | "AccessDeniedException" if action == "AssumeRole" => (
            Refused,
            "the role must trust this identity (and its external_id and MFA, if it asks for them), and the identity needs \
             sts:AssumeRole on it; see who it is with: aws sts get-caller-identity",
        ),
        "AccessDenied" | "AccessDeniedException" if action.starts_with("AssumeRoleWithWebIdentity") => {
            (Refused, "the role's trust policy must name this identity provider, audience and subject")
        }
        "UnknownOperationException" => (Malformed, "the endpoint is not the ECR API; check AWS_ENDPOINT_URL_ECR"),
        _ => (
            Refused,
            "the identity needs ecr:GetAuthorizationToken on *; see who it is with: aws sts get-caller-identity",
        ),
    };
    MintError::new(kind, cause, remedy)
}

const CLOCK: &str = "this machine's clock is wrong; set it: sudo timedatectl set-ntp true";

/// What went wrong on the way to an API.
pub(super) fn of_network(action: &str, error: &(dyn Error + 'static)) -> MintError {
    let said = chain(error);
    let cause = format!("{action}: {said}");
    let has = |words: &[&str]| words.iter().any(|word| said.contains(word));
    let is_refused = sources(error).any(|source| {
        source.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
    });
    let remedy = if has(&["proxy authorization required"]) {
        "the proxy asks for a user and password: write them into HTTPS_PROXY, as http://user:password@host:port"
    } else if has(&["tunnel", "proxy"]) {
        "the proxy does not let it through: check HTTPS_PROXY, and NO_PROXY for hosts that need none"
    } else if has(&["UnknownIssuer", "unknown issuer"]) {
        "a proxy shows a certificate of its own: put its CA into AWS_CA_BUNDLE, or into the machine's trust store"
    } else if has(&["NotValidForName", "not valid for name"]) {
        "another server answers in AWS's place: check the network, DNS and HTTPS_PROXY"
    } else if has(&["certificate expired", "Expired", "NotValidYet", "not valid yet"]) {
        CLOCK
    } else if has(&["invalid peer certificate", "received fatal alert", "InvalidContentType", "corrupt message"]) {
        "the server does not speak AWS's TLS: check the endpoint and HTTPS_PROXY"
    } else if has(&["dns error", "failed to lookup address"]) {
        "there is no network, no DNS, or no such region: check the connection and the region in the registry's name"
    } else if is_refused {
        "nothing listens there: check the endpoint and HTTPS_PROXY"
    } else {
        "check the network, HTTPS_PROXY and the endpoint"
    };
    MintError::new(MintErrorKind::Unreachable, cause, remedy)
}

fn sources<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error: &&'a (dyn Error + 'static)| (*error).source())
}
