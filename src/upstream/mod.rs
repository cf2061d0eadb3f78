//! [`Upstream`]: the one pooled HTTP client, towards registries and the blob hosts they redirect to.
//!
//! Adds what a registry wants to see (credentials, the true client's name) and nothing else of the client's request;
//! a redirect target sees neither credentials nor cookies nor referrers. Caches no content.

mod authorize;
mod blob;
mod blob_size;
mod breaker;
mod challenge;
mod dial;
mod error;
mod manifest;
mod patience;
mod relay;
mod send;
mod tls;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, Empty};
use hyper::{
    Method, Request, Response, StatusCode, Uri,
    body::Incoming,
    header::{ACCEPT, HeaderValue, RANGE, USER_AGENT},
};
use hyper_rustls::HttpsConnector;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};

use crate::{
    config::{self, Config},
    credentials::{self, Credential, Credentials},
    oci::{Registry, Repository, Tag, UpstreamError},
};
use authorize::{Authorization, Authorizations};
use breaker::Breakers;
use dial::Dialer;

pub use blob::{BlobBody, BlobQuestion, Storage};
pub use error::{Error, Refusal};
pub use manifest::{Head, ManifestRequest};
pub use patience::Patience;
pub use relay::Relayed;
pub use tls::Error as TlsError;

/// What this program calls itself.
const AGENT: &str = concat!("longshore/", env!("CARGO_PKG_VERSION"));
/// The most that is read of an error body: ECR's are below a kilobyte.
const LONGEST_ERROR: usize = 64 * 1024;
/// The most that is read of a connection at once: what stays in the processor's cache until it is written and hashed. Bounds
/// what a head may take, too.
const READ_AT_ONCE: usize = 256 * 1024;

/// The registries this machine pulls from.
#[derive(Debug)]
pub struct Upstream {
    client: Client<HttpsConnector<Dialer>, Empty<Bytes>>,
    config: Arc<Config>,
    credentials: Arc<Credentials>,
    authorizations: Authorizations,
    breakers: Breakers,
}

/// One question to a registry, before credentials.
#[derive(Clone, Debug)]
struct Question<'a> {
    method: Method,
    repository: &'a Repository,
    /// behind the repository's name: `manifests/v1`
    path: String,
    accept: Option<&'a str>,
    /// which bytes are wanted, when not all are: the value of a `Range` header
    range: Option<&'a str>,
    /// who asks, for the registry's own log
    client: &'a str,
}

impl Upstream {
    /// A client by the rules of `config`. Reads the machine's certificates; connects to nothing.
    pub fn new(config: Arc<Config>, credentials: Arc<Credentials>) -> Result<Self, TlsError> {
        let tls = tls::client_config(&config.upstream)?;
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(Dialer::new(&config.upstream));
        let client = Client::builder(TokioExecutor::new()).http1_max_buf_size(READ_AT_ONCE).build(connector);
        let (authorizations, breakers) = Default::default();
        Ok(Self { client, config, credentials, authorizations, breakers })
    }

    /// Patience as the configuration has it, from now on.
    #[must_use]
    pub fn patience(&self) -> Patience {
        Patience::new(self.config.upstream.retry_for, Instant::now())
    }

    /// Whether the configuration says that this tag never moves.
    #[must_use]
    pub fn is_immutable(&self, repository: &Repository, tag: &Tag) -> bool {
        let rule = credentials::rule(&self.config, &repository.registry);
        let mut patterns = rule.iter().flat_map(|rule| &rule.immutable);
        patterns.any(|pattern| pattern.matches(repository.name.as_str(), tag.as_str()))
    }

    /// After how long an image that is served from the cache is to be asked for; `None` is never.
    #[must_use]
    pub fn touch_after(&self) -> Option<Duration> {
        let after = self.config.upstream.touch_after;
        (!after.is_zero() && !self.config.cache.offline).then_some(after)
    }

    /// Whether the configuration says that nothing is asked.
    #[must_use]
    pub fn is_offline(&self) -> bool {
        self.config.cache.offline
    }

    /// Asks with the credentials there are; renews them once if the registry says that they are over.
    async fn ask(&self, question: &Question<'_>) -> Result<Response<Incoming>, Error> {
        let repository = question.repository;
        self.may_ask(&repository.registry)?;
        let mut credential = self.credentials.get(&repository.registry).await.map_err(Error::Credentials)?;
        let mut authorization = match self.known_authorization(repository, &credential).await {
            Err(Error::Unreachable { .. } | Error::Refused(_) | Error::Protocol { .. }) => {
                self.authorizations.unlearn(&repository.registry);
                Authorization::None
            }
            known => known?,
        };
        let (mut learned, mut renewed) = (false, false);
        loop {
            let response = self.send(self.request(question, &authorization)?, &repository.registry).await?;
            let challenge = match response.status() {
                StatusCode::UNAUTHORIZED => challenge::parse(response.headers()),
                StatusCode::FORBIDDEN | StatusCode::BAD_REQUEST => None,
                _ => return Ok(response),
            };
            let refusal = self.refusal(repository, response).await;
            if let Some(challenge) = challenge {
                self.learn(repository, challenge);
            }
            let is_over = refusal.status == StatusCode::UNAUTHORIZED || refusal.said.is_about_the_token();
            if !is_over {
                return Err(Error::Refused(refusal));
            }
            // what this challenge, or one that another request met, taught in the meantime
            let known = self.known_authorization(repository, &credential).await?;
            if !learned && known != authorization {
                learned = true;
                authorization = known;
                continue;
            }
            if renewed || !self.renew(&repository.registry, &mut credential, &authorization).await? {
                return Err(Error::Refused(refusal));
            }
            renewed = true;
            authorization = self.known_authorization(repository, &credential).await?;
        }
    }

    /// Gets something better than the `authorization` that was refused; whether there was anything.
    async fn renew(
        &self,
        registry: &Registry,
        credential: &mut Credential,
        authorization: &Authorization,
    ) -> Result<bool, Error> {
        if matches!(authorization, Authorization::Bearer(_)) {
            self.authorizations.forget(authorization);
            return Ok(true);
        }
        let renewed = self.credentials.renew(registry, credential).await.map_err(Error::Credentials)?;
        let is_better = renewed != *credential;
        *credential = renewed;
        Ok(is_better)
    }

    async fn refusal(&self, repository: &Repository, response: Response<Incoming>) -> Refusal {
        let status = response.status();
        let retry_after = response.headers().get(hyper::header::RETRY_AFTER).cloned();
        let registry = &repository.registry;
        // a refusal whose words cannot be read is a refusal all the same
        let body =
            self.collect(registry, registry.as_str(), response.into_body(), LONGEST_ERROR).await.unwrap_or_default();
        let said = UpstreamError::parse(&body);
        Refusal { registry: repository.registry.clone(), status, said, retry_after }
    }

    fn request(&self, question: &Question<'_>, authorization: &Authorization) -> Result<Request<Empty<Bytes>>, Error> {
        let Question { method, repository, path, accept, range, client } = question;
        let uri = self.uri(&repository.registry, &format!("/v2/{}/{path}", repository.name));
        let agent: String = client.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').take(300).collect();
        let mut request =
            Request::builder().method(method).uri(uri).header(USER_AGENT, format!("{AGENT} upstream-client({agent})"));
        if let Some(accept) = accept {
            request = request.header(ACCEPT, *accept);
        }
        if let Some(range) = range {
            request = request.header(RANGE, *range);
        }
        if let Some(value) = authorization.header() {
            request = request.header(hyper::header::AUTHORIZATION, value);
        }
        request.body(Empty::new()).map_err(|source| Error::protocol(&repository.registry, source))
    }

    /// Where a registry really is.
    fn uri(&self, registry: &Registry, path: &str) -> String {
        match credentials::rule(&self.config, registry).and_then(|rule| rule.endpoint.as_ref()) {
            Some(config::Endpoint { tls: false, authority }) => format!("http://{authority}{path}"),
            Some(config::Endpoint { tls: true, authority }) => format!("https://{authority}{path}"),
            None => format!("https://{registry}{path}"),
        }
    }

    /// Whether talk with a registry is in the clear, as its configuration says.
    fn is_plain(&self, registry: &Registry) -> bool {
        let rule = credentials::rule(&self.config, registry);
        rule.and_then(|rule| rule.endpoint.as_ref()).is_some_and(|endpoint| !endpoint.tls)
    }

    /// Reads a body that is to be short; `host` is who sends it.
    async fn collect(&self, registry: &Registry, host: &str, mut body: Incoming, most: usize) -> Result<Bytes, Error> {
        let mut collected = BytesMut::new();
        loop {
            let frame = match self.timed(body.frame()).await {
                None => return Err(Error::silent(registry, host, self.idle_timeout())),
                Some(None) => return Ok(collected.freeze()),
                Some(Some(frame)) => frame.map_err(|source| Error::unreachable(registry, host, source))?,
            };
            let bytes = frame.into_data().unwrap_or_default();
            if collected.len() + bytes.len() > most {
                return Err(Error::TooLarge { registry: registry.clone(), most });
            }
            collected.extend_from_slice(&bytes);
        }
    }

    /// The outcome of `work`, or nothing when the upstream was silent for too long.
    async fn timed<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::time::timeout(self.idle_timeout(), work).await.ok()
    }

    fn idle_timeout(&self) -> Duration {
        self.config.upstream.idle_timeout
    }
}

/// A request to a redirect target or token service: it carries this program's name and nothing of the client's.
fn bare_request(uri: &Uri) -> hyper::http::Result<Request<Empty<Bytes>>> {
    Request::builder().uri(uri).header(USER_AGENT, HeaderValue::from_static(AGENT)).body(Empty::new())
}
