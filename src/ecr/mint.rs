//! Minting: the credentials of an identity, then one `GetAuthorizationToken`.
//!
//! Everything of AWS is set up here and dropped when the token is there: a warm `get` never comes by. Registry ids are
//! not sent: they are deprecated and do not change what a token is good for.

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;

use super::{
    AuthorizationToken, Identity, Profiles, Session, TokenScope,
    failure::{MintError, of_call},
    role::{self, Codes},
    sdk::{Sdk, Service},
    sources::Search,
};
use crate::secret::Secret;

/// A token is not renewed more often, however short the session is that it was minted with.
const SHORTEST_FRESH: Duration = Duration::from_mins(15);

/// What is known before an attempt.
#[derive(Debug, Default)]
pub struct Known {
    /// A one-time code, when an attempt before this one asked for it.
    pub code: Option<Secret>,
    /// Credentials that a code was spent on earlier.
    pub session: Option<Session>,
    /// Whether the metadata service of EC2 is known not to be there.
    pub no_metadata: bool,
}

/// What an attempt taught beside its outcome, for the next one.
#[derive(Debug, Default)]
pub struct Learned {
    /// Credentials that a code was spent on now.
    pub session: Option<Session>,
    /// Whether nobody answered at the metadata service.
    pub no_metadata: bool,
}

/// Mints a token for `scope` with the rights of `identity`.
pub async fn mint(
    scope: &TokenScope,
    identity: &Identity,
    known: Known,
) -> (Result<AuthorizationToken, MintError>, Learned) {
    let known_until = known.session.as_ref().map(|session| session.expires_at);
    let mut codes = Codes { code: known.code, session: known.session };
    let mut no_metadata = known.no_metadata;
    let outcome = attempt(scope, identity, &mut codes, &mut no_metadata).await;
    let session = codes.session.filter(|session| Some(session.expires_at) != known_until);
    (outcome, Learned { session, no_metadata })
}

async fn attempt(
    scope: &TokenScope,
    identity: &Identity,
    codes: &mut Codes,
    no_metadata: &mut bool,
) -> Result<AuthorizationToken, MintError> {
    let profiles = Profiles::read();
    let sdk = Sdk::new(scope, identity, &profiles).await?;
    let mut search = Search { sdk: &sdk, profiles: &profiles, codes, no_metadata: *no_metadata };
    // resolved first, so that a failure of the chain is never taken for one of the API
    // boxed, since the compiler gives up on the layout of futures as deep as the SDK's
    let credentials = Box::pin(search.run(identity)).await;
    *no_metadata = search.no_metadata;
    token(scope, &sdk, credentials?).await
}

/// Mints a token with a web identity token that was handed in, such as a Kubernetes service account's; `endpoint_url` is
/// that of the ECR API, if the region's own is not meant.
pub async fn mint_with_web_identity(
    scope: &TokenScope,
    endpoint_url: Option<&str>,
    role: &str,
    session_name: &str,
    web_identity: &Secret,
) -> Result<AuthorizationToken, MintError> {
    let identity = Identity { endpoint_url: endpoint_url.map(ToOwned::to_owned), ..Identity::default() };
    let sdk = Sdk::new(scope, &identity, &Profiles::read()).await?;
    let credentials = role::assume_with_web_identity(&sdk, role, session_name, web_identity).await?;
    token(scope, &sdk, credentials).await
}

async fn token(scope: &TokenScope, sdk: &Sdk, credentials: Credentials) -> Result<AuthorizationToken, MintError> {
    let session_ends = credentials.expiry();
    let minted_at = SystemTime::now();
    let (basic, expires_at) =
        if scope.public { public_token(sdk, credentials).await? } else { private_token(sdk, credentials).await? };
    let refresh_at = refresh_at(minted_at, expires_at, session_ends);
    let token = AuthorizationToken { basic: Secret::new(basic), minted_at, refresh_at, expires_at };
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

/// A token is fresh until half of its life; no longer than the session it was minted with, since ECR was seen to refuse
/// tokens of sessions that are over (kubernetes #69141).
fn refresh_at(minted_at: SystemTime, expires_at: SystemTime, session_ends: Option<SystemTime>) -> SystemTime {
    let life = expires_at.duration_since(minted_at).unwrap_or_default();
    let half = minted_at + life / 2;
    let bound = session_ends.map_or(half, |end| end.max(minted_at + SHORTEST_FRESH));
    half.min(bound)
}

async fn private_token(sdk: &Sdk, credentials: Credentials) -> Result<(String, SystemTime), MintError> {
    let client = aws_sdk_ecr::Client::new(&sdk.config(Service::Ecr, credentials));
    let answer = client.get_authorization_token().send().await;
    let answer = answer.map_err(|error| of_call("GetAuthorizationToken", &error))?;
    let data = answer.authorization_data().first().ok_or_else(|| MintError::malformed("the answer holds no token"))?;
    read(data.authorization_token(), data.expires_at())
}

async fn public_token(sdk: &Sdk, credentials: Credentials) -> Result<(String, SystemTime), MintError> {
    let client = aws_sdk_ecrpublic::Client::new(&sdk.config(Service::EcrPublic, credentials));
    let answer = client.get_authorization_token().send().await;
    let answer = answer.map_err(|error| of_call("GetAuthorizationToken", &error))?;
    let data = answer.authorization_data().ok_or_else(|| MintError::malformed("the answer holds no token"))?;
    read(data.authorization_token(), data.expires_at())
}

fn read(
    basic: Option<&str>,
    expires_at: Option<&aws_sdk_ecr::primitives::DateTime>,
) -> Result<(String, SystemTime), MintError> {
    let basic = basic.ok_or_else(|| MintError::malformed("the answer holds no token"))?;
    let expires_at = expires_at.ok_or_else(|| MintError::malformed("the token carries no time of expiry"))?;
    let expires_at = SystemTime::try_from(*expires_at)
        .map_err(|_| MintError::malformed("the token's time of expiry is out of range"))?;
    Ok((basic.to_owned(), expires_at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_fresh_until_half_of_its_life_but_not_beyond_its_session() {
        let start = SystemTime::UNIX_EPOCH;
        let (hour, end) = (Duration::from_hours(1), start + Duration::from_hours(12));
        assert_eq!(refresh_at(start, end, None), start + 6 * hour);
        assert_eq!(refresh_at(start, end, Some(start + hour)), start + hour);
        assert_eq!(refresh_at(start, end, Some(start + 9 * hour)), start + 6 * hour);
        assert_eq!(refresh_at(start, end, Some(start)), start + Duration::from_mins(15));
    }
}
