//! How each registry wants to be asked, learned from its challenges, and the Bearer tokens it gave.
//!
//! A password goes to the registry's own scheme, host and port, or to the token host the configuration names; to no other.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use hyper::{
    StatusCode, Uri,
    header::{AUTHORIZATION, HeaderValue, RETRY_AFTER},
};
use serde::Deserialize;
use tokio::sync::OnceCell;
use url::Url;

use super::{Error, LONGEST_ERROR, Refusal, Upstream, bare_request, challenge::Challenge};
use crate::{
    credentials::{self, Credential},
    ecr::EcrRegistry,
    oci::{Registry, Repository, UpstreamError},
    secret::Secret,
};

/// How long a token lives whose service does not say: the distribution token specification's default.
const DEFAULT_LIFE: Duration = Duration::from_mins(1);
/// No token is trusted longer, whatever its service says.
const LONGEST_LIFE: Duration = Duration::from_hours(24);
/// A token is renewed this long before its end, so that it outlives the request it is for.
const MARGIN: Duration = Duration::from_secs(10);
/// Stands for the repository's name in a remembered scope.
const NAME: &str = "{name}";
/// A client can make up any number of repository names; so many tokens are worth keeping.
const MOST_TOKENS: usize = 4096;

/// What goes into the `Authorization` header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Authorization {
    None,
    Basic(Secret),
    Bearer(Secret),
}

impl Authorization {
    pub(super) fn header(&self) -> Option<HeaderValue> {
        let text = match self {
            Self::None => return None,
            Self::Basic(secret) => format!("Basic {}", secret.expose()),
            Self::Bearer(secret) => format!("Bearer {}", secret.expose()),
        };
        let mut value = HeaderValue::from_str(&text).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

/// What was learned; everything in it can be learned again.
#[derive(Debug, Default)]
pub(super) struct Authorizations {
    challenges: Mutex<HashMap<Registry, Challenge>>,
    tokens: Mutex<HashMap<TokenOf, Place>>,
}

/// Whose token it is: never another registry's, even from the same service.
type TokenOf = (Registry, Challenge);
/// A token, why there is none, or one that is being fetched: all who wait are told the same.
type Place = Arc<OnceCell<Result<BearerToken, Error>>>;

#[derive(Clone, Debug)]
struct BearerToken {
    secret: Secret,
    good_until: Instant,
}

impl Authorizations {
    pub(super) fn forget(&self, authorization: &Authorization) {
        if let Authorization::Bearer(refused) = authorization {
            let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
            tokens.retain(|_, place| !matches!(place.get(), Some(Ok(token)) if token.secret == *refused));
        }
    }

    /// The place of a token: a new one when what is there is of no more use.
    fn place(&self, of: TokenOf) -> Place {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        if tokens.len() >= MOST_TOKENS {
            tokens.clear();
        }
        let place = tokens.entry(of).or_default();
        if place.get().is_some_and(|fetched| fetched.as_ref().map_or(true, |token| Instant::now() >= token.good_until))
        {
            *place = Arc::default();
        }
        Arc::clone(place)
    }

    fn challenge(&self, registry: &Registry) -> Option<Challenge> {
        self.challenges.lock().unwrap_or_else(PoisonError::into_inner).get(registry).cloned()
    }

    /// A challenge that cannot be met any more is learned anew.
    pub(super) fn unlearn(&self, registry: &Registry) {
        self.challenges.lock().unwrap_or_else(PoisonError::into_inner).remove(registry);
    }
}

impl Upstream {
    /// Remembers how a registry wants to be asked.
    pub(super) fn learn(&self, repository: &Repository, mut challenge: Challenge) {
        if let Challenge::Bearer { scope: Some(scope), .. } = &mut challenge {
            *scope = scope.replace(&format!("repository:{}:", repository.name), &format!("repository:{NAME}:"));
        }
        let mut challenges = self.authorizations.challenges.lock().unwrap_or_else(PoisonError::into_inner);
        challenges.insert(repository.registry.clone(), challenge);
    }

    /// What to send without being asked: private ECR is known to want Basic, others told us at the first refusal.
    pub(super) async fn known_authorization(
        &self,
        repository: &Repository,
        credential: &Credential,
    ) -> Result<Authorization, Error> {
        let registry = &repository.registry;
        let known = self.authorizations.challenge(registry);
        let is_private_ecr = EcrRegistry::parse(registry.host()).is_some_and(|ecr| !ecr.scope.public);
        match (known, credential) {
            (None, Credential::Basic(secret)) if is_private_ecr => Ok(Authorization::Basic(secret.clone())),
            (Some(Challenge::Basic), Credential::Basic(secret)) => Ok(Authorization::Basic(secret.clone())),
            (Some(Challenge::Bearer { realm, service, scope }), credential) => {
                let scope = scope.map(|scope| scope.replace(NAME, repository.name.as_str()));
                self.bearer(registry, Challenge::Bearer { realm, service, scope }, credential).await
            }
            _ => Ok(Authorization::None),
        }
    }

    async fn bearer(
        &self,
        registry: &Registry,
        challenge: Challenge,
        credential: &Credential,
    ) -> Result<Authorization, Error> {
        let place = self.authorizations.place((registry.clone(), challenge.clone()));
        let fetched = place.get_or_init(|| self.fetch_or_renew(registry, &challenge, credential)).await;
        fetched.clone().map(|token| Authorization::Bearer(token.secret))
    }

    /// Fetches a token; when the password itself is over, once more with another, if there is another.
    async fn fetch_or_renew(
        &self,
        registry: &Registry,
        challenge: &Challenge,
        credential: &Credential,
    ) -> Result<BearerToken, Error> {
        let refusal = match self.fetch_token(registry, challenge, credential).await {
            Err(Error::Refused(refusal)) if is_about_the_password(&refusal) => refusal,
            fetched => return fetched,
        };
        let renewed = self.credentials.renew(registry, credential).await.map_err(Error::Credentials)?;
        if renewed == *credential {
            return Err(Error::Refused(refusal));
        }
        self.fetch_token(registry, challenge, &renewed).await
    }

    async fn fetch_token(
        &self,
        registry: &Registry,
        challenge: &Challenge,
        credential: &Credential,
    ) -> Result<BearerToken, Error> {
        let (uri, own_host) = self.token_uri(registry, challenge)?;
        let mut request = bare_request(&uri).map_err(|source| Error::protocol(registry, source))?;
        if let (Credential::Basic(secret), true) = (credential, own_host) {
            let value = Authorization::Basic(secret.clone()).header();
            request.headers_mut().extend(value.map(|value| (AUTHORIZATION, value)));
        }
        let response = self.send(request, registry).await?;
        let status = response.status();
        let host = uri.host().unwrap_or_default();
        let retry_after = response.headers().get(RETRY_AFTER).cloned();
        let body = self.collect(registry, host, response.into_body(), LONGEST_ERROR).await;
        let body = body.map_err(|error| match error {
            Error::TooLarge { .. } => Error::protocol(registry, format!("the token service {host} sent no token")),
            error => error,
        })?;
        if status.is_client_error() && !is_about_the_right(status) {
            // that it has no such page says nothing of the image
            return Err(Error::protocol(registry, format!("its token service {host} answered {status}")));
        }
        if status != StatusCode::OK {
            let said = UpstreamError::parse(&body);
            return Err(Error::Refused(Refusal { registry: registry.clone(), status, said, retry_after }));
        }
        token(&body).ok_or_else(|| Error::protocol(registry, format!("the token service {uri} sent no token")))
    }

    /// Where the token is fetched, and whether the password may go there.
    fn token_uri(&self, registry: &Registry, challenge: &Challenge) -> Result<(Uri, bool), Error> {
        let Challenge::Bearer { realm, service, scope } = challenge else {
            return Err(Error::protocol(registry, "a token was asked for without a Bearer challenge"));
        };
        let bad = || Error::protocol(registry, format!("the realm {realm:?} of its challenge is not an https URL"));
        let mut url = Url::parse(realm).map_err(|_| bad())?;
        if url.scheme() != "https" && !(url.scheme() == "http" && self.is_plain(registry)) {
            return Err(bad());
        }
        let asked = Url::parse(&self.uri(registry, "/")).map_err(|_| bad())?;
        let configured = credentials::rule(&self.config, registry).and_then(|rule| rule.token_host.as_deref());
        let is_configured = url.scheme() == "https" && url.port().is_none() && url.host_str() == configured;
        let own_host = url.origin() == asked.origin() || is_configured;
        {
            let mut query = url.query_pairs_mut();
            query.extend_pairs(service.iter().map(|service| ("service", service)));
            query.extend_pairs(scope.iter().flat_map(|scope| scope.split(' ')).map(|scope| ("scope", scope)));
        }
        url.as_str().parse().map(|uri| (uri, own_host)).map_err(|_| bad())
    }
}

/// Whether a token service that answers so was asked and said no, or not now.
fn is_about_the_right(status: StatusCode) -> bool {
    let nos = [StatusCode::BAD_REQUEST, StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN, StatusCode::TOO_MANY_REQUESTS];
    nos.contains(&status)
}

fn is_about_the_password(refusal: &Refusal) -> bool {
    refusal.status == StatusCode::UNAUTHORIZED || refusal.said.is_about_the_token()
}

fn token(body: &[u8]) -> Option<BearerToken> {
    #[derive(Deserialize)]
    struct Answer {
        token: Option<String>,
        access_token: Option<String>,
        #[serde(default)]
        expires_in: serde_json::Value,
    }
    let answer: Answer = serde_json::from_slice(body).ok()?;
    let secret = Secret::new(answer.token.or(answer.access_token).filter(|token| !token.is_empty())?);
    // seconds, by the specification a whole number above zero; anything else counts as unsaid
    let life = answer.expires_in.as_u64().map_or(DEFAULT_LIFE, Duration::from_secs).min(LONGEST_LIFE);
    Some(BearerToken { secret, good_until: Instant::now() + life.saturating_sub(MARGIN) })
}
