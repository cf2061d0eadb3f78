//! Minting: the AWS credential chain, then one `GetAuthorizationToken`.
//!
//! Everything of AWS is set up here and dropped when the token is there: a warm `get` never comes by. Registry ids are
//! not sent: they are deprecated and do not change what a token is good for.

use std::{
    env, error, fmt, fs,
    time::{Duration, SystemTime},
};

use aws_config::{BehaviorVersion, Region, SdkConfig, timeout::TimeoutConfig};
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, error::CredentialsError};
use aws_sdk_ecr::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_http_client::{
    Builder,
    tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode},
};

use super::{AuthorizationToken, TokenScope};
use crate::{chain::chain, secret::Secret};

/// One attempt at the ECR API; the SDK makes up to three within the caller's deadline.
const ATTEMPT: Duration = Duration::from_secs(4);

/// Why no token could be minted.
#[derive(Debug)]
pub struct MintError {
    /// The class a remedy is chosen by.
    pub kind: MintErrorKind,
    /// What AWS or the network said, on one line.
    pub cause: String,
}

/// The classes of failure that call for different remedies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MintErrorKind {
    /// Nothing in the chain has credentials.
    NoCredentials,
    /// A source of credentials is configured but gave none.
    CredentialsFailed,
    /// AWS refused the identity.
    Refused,
    /// AWS asks for fewer calls.
    Throttled,
    /// No answer: name resolution, connection, TLS or time.
    Unreachable,
    /// An answer that is not an authorization token.
    Malformed,
}

impl MintError {
    /// What a person can do about it.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self.kind {
            MintErrorKind::NoCredentials => {
                "configure AWS credentials: `aws configure`, `aws sso login`, AWS_PROFILE or AWS_ACCESS_KEY_ID"
            }
            MintErrorKind::CredentialsFailed => {
                "renew the AWS credentials (`aws sso login` for SSO) and check with: aws sts get-caller-identity"
            }
            MintErrorKind::Refused => {
                "the identity needs ecr:GetAuthorizationToken on *; see who it is with: aws sts get-caller-identity"
            }
            MintErrorKind::Throttled => "AWS limits calls per account and region; try again in a few seconds",
            MintErrorKind::Unreachable => "check the network and the endpoint of the ECR API",
            MintErrorKind::Malformed => {
                "something between here and AWS changes answers; check the network and AWS_ENDPOINT_URL_ECR"
            }
        }
    }

    fn new(kind: MintErrorKind, cause: impl Into<String>) -> Self {
        let cause = cause.into().split_whitespace().collect::<Vec<_>>().join(" ");
        Self { kind, cause }
    }

    fn malformed(cause: &str) -> Self {
        Self::new(MintErrorKind::Malformed, cause)
    }
}

impl fmt::Display for MintError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.cause)
    }
}

impl error::Error for MintError {}

/// Mints a token for `scope` with whatever identity the AWS credential chain finds.
pub async fn mint(scope: &TokenScope) -> Result<AuthorizationToken, MintError> {
    let config = sdk_config(scope).await?;
    let (basic, expires_at) = if scope.public { public_token(&config).await? } else { private_token(&config).await? };
    let token = AuthorizationToken { basic: Secret::new(basic), expires_at };
    if token.user_and_password().is_none() {
        return Err(MintError::malformed("the authorization token is not base64 of user:password"));
    }
    if !token.is_usable(SystemTime::now()) {
        return Err(MintError::malformed(
            "the authorization token has expired already; is this machine's clock right?",
        ));
    }
    Ok(token)
}

async fn private_token(config: &SdkConfig) -> Result<(String, SystemTime), MintError> {
    let answer =
        aws_sdk_ecr::Client::new(config).get_authorization_token().send().await.map_err(|error| refusal(&error))?;
    let data = answer.authorization_data().first().ok_or_else(|| MintError::malformed("the answer holds no token"))?;
    token(data.authorization_token(), data.expires_at())
}

async fn public_token(config: &SdkConfig) -> Result<(String, SystemTime), MintError> {
    let answer = aws_sdk_ecrpublic::Client::new(config)
        .get_authorization_token()
        .send()
        .await
        .map_err(|error| refusal(&error))?;
    let data = answer.authorization_data().ok_or_else(|| MintError::malformed("the answer holds no token"))?;
    token(data.authorization_token(), data.expires_at())
}

fn token(
    basic: Option<&str>,
    expires_at: Option<&aws_sdk_ecr::primitives::DateTime>,
) -> Result<(String, SystemTime), MintError> {
    let basic = basic.ok_or_else(|| MintError::malformed("the answer holds no token"))?;
    let expires_at = expires_at.ok_or_else(|| MintError::malformed("the token carries no time of expiry"))?;
    let expires_at = SystemTime::try_from(*expires_at)
        .map_err(|_| MintError::malformed("the token's time of expiry is out of range"))?;
    Ok((basic.to_owned(), expires_at))
}

async fn sdk_config(scope: &TokenScope) -> Result<SdkConfig, MintError> {
    let tls = TlsContext::builder().with_trust_store(trust_store()?).build();
    let tls = tls.map_err(|error| MintError::new(MintErrorKind::Unreachable, chain(&error)))?;
    let http = Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).tls_context(tls).build_https();
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(http)
        .region(Region::new(scope.region.clone()))
        .timeout_config(TimeoutConfig::builder().operation_attempt_timeout(ATTEMPT).build());
    // never switched off here: the user's own AWS_USE_FIPS_ENDPOINT and AWS_USE_DUALSTACK_ENDPOINT stay in force;
    // not asked for beside an endpoint the user chose, which the SDK refuses
    let chosen = is_endpoint_chosen(scope);
    if scope.fips && !chosen {
        loader = loader.use_fips(true);
    }
    if scope.dual_stack && !chosen {
        loader = loader.use_dual_stack(true);
    }
    let config = loader.load().await;
    let provider = config
        .credentials_provider()
        .ok_or_else(|| MintError::new(MintErrorKind::NoCredentials, "no AWS credentials were found"))?;
    // resolved first, so that a failure of the chain is never taken for one of the API
    let credentials = provider.provide_credentials().await.map_err(|error| no_credentials(&error))?;
    Ok(config.into_builder().credentials_provider(SharedCredentialsProvider::new(credentials)).build())
}

/// Whether the environment says where the API is.
fn is_endpoint_chosen(scope: &TokenScope) -> bool {
    let own = if scope.public { "AWS_ENDPOINT_URL_ECR_PUBLIC" } else { "AWS_ENDPOINT_URL_ECR" };
    ["AWS_ENDPOINT_URL", own].into_iter().any(|name| env::var_os(name).is_some_and(|url| !url.is_empty()))
}

/// The machine's own certificates, and those of `AWS_CA_BUNDLE`, which the AWS CLI honours and the Rust SDK does not.
fn trust_store() -> Result<TrustStore, MintError> {
    let store = TrustStore::default();
    let Some(path) = env::var_os("AWS_CA_BUNDLE").filter(|path| !path.is_empty()) else {
        return Ok(store);
    };
    let pem = fs::read(&path).map_err(|error| {
        let path = path.display();
        MintError::new(MintErrorKind::Unreachable, format!("AWS_CA_BUNDLE {path}: {error}"))
    })?;
    Ok(store.with_pem_certificate(pem))
}

fn no_credentials(error: &CredentialsError) -> MintError {
    if matches!(error, CredentialsError::CredentialsNotLoaded(_)) {
        return MintError::new(MintErrorKind::NoCredentials, "no AWS credentials were found");
    }
    // STS, SSO or IMDS could not be asked: an outage, which says nothing of the identity
    let is_silent = matches!(error, CredentialsError::ProviderTimedOut(_)) || chain(error).contains("dispatch failure");
    let kind = if is_silent { MintErrorKind::Unreachable } else { MintErrorKind::CredentialsFailed };
    MintError::new(kind, format!("the AWS credentials cannot be used: {}", chain(error)))
}

fn refusal<E, R>(error: &SdkError<E, R>) -> MintError
where
    E: ProvideErrorMetadata + error::Error + 'static,
    R: fmt::Debug + 'static,
{
    let SdkError::ServiceError(service) = error else {
        let kind = match error {
            SdkError::ResponseError(_) => MintErrorKind::Malformed,
            _ => MintErrorKind::Unreachable,
        };
        return MintError::new(kind, format!("the ECR API did not answer: {}", chain(error)));
    };
    let code = service.err().code().unwrap_or("an error without a code");
    let message = service.err().message().unwrap_or("no message");
    let kind = match code {
        "ThrottlingException" | "TooManyRequestsException" => MintErrorKind::Throttled,
        "ServerException" => MintErrorKind::Unreachable,
        "an error without a code" => MintErrorKind::Malformed,
        _ => MintErrorKind::Refused,
    };
    MintError::new(kind, format!("GetAuthorizationToken: {code}: {message}"))
}
