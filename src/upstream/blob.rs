//! Fetching blobs: the registry's answer, or the storage it redirects to.
//!
//! Blobs are never asked for by HEAD where that is known to fail (ECR Public answers 401 to it); nothing here checks
//! digests, and nothing is written.

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::{
    Method, Request, Response, StatusCode, Uri,
    body::Incoming,
    header::{CONTENT_LENGTH, CONTENT_RANGE, HeaderMap, LOCATION, RANGE},
};
use url::Url;

use super::{Error, Question, Upstream, bare_request};
use crate::oci::{Digest, Registry, Repository};

/// Storage redirects at most once; a pull-through rule of ECR may add one hop.
const MOST_HOPS: usize = 5;

/// The bytes of a blob on their way, from the byte that was asked for.
#[derive(Debug)]
pub struct BlobBody {
    /// The size of the whole blob, when the upstream told it.
    pub total: Option<u64>,
    /// Where in the blob the first of these bytes belongs: a server may ignore what was asked and start anew.
    pub start: u64,
    body: Incoming,
    host: String,
}

impl Upstream {
    /// Starts fetching `digest` at byte `from`.
    pub async fn blob(
        &self,
        repository: &Repository,
        digest: &Digest,
        from: u64,
        client: &str,
    ) -> Result<BlobBody, Error> {
        let question =
            Question { method: Method::GET, repository, path: format!("blobs/{digest}"), accept: None, from, client };
        let range = (from > 0).then(|| format!("bytes={from}-"));
        let (response, storage) = self.follow(&question, range.as_deref()).await?;
        let registry = &repository.registry;
        let (start, total) = match response.status() {
            StatusCode::OK => (0, content_length(response.headers())),
            StatusCode::PARTIAL_CONTENT => {
                let (start, total) = content_range(response.headers())
                    .ok_or_else(|| Error::protocol(registry, "a part came without saying which"))?;
                if start != from {
                    return Err(Error::protocol(registry, format!("bytes from {start} came for bytes from {from}")));
                }
                (start, total)
            }
            _ => return Err(self.no_blob(repository, response, storage).await),
        };
        let host = storage.unwrap_or_else(|| registry.to_string());
        Ok(BlobBody { total, start, body: response.into_body(), host })
    }

    /// A no of the registry is about what was asked. A no of the storage behind it (a signed URL that is over, most
    /// often) is not: asking the registry again may help.
    pub(super) async fn no_blob(
        &self,
        repository: &Repository,
        response: Response<Incoming>,
        storage: Option<String>,
    ) -> Error {
        let Some(host) = storage else {
            return Error::Refused(self.refusal(repository, response).await);
        };
        let status = response.status();
        Error::unreachable(&repository.registry, &host, format!("the storage it redirected to answered {status}"))
    }

    /// Asks the registry and goes where it points; tells which storage answered, if it was not the registry itself. The
    /// range is asked of whoever has the bytes.
    pub(super) async fn follow(
        &self,
        question: &Question<'_>,
        range: Option<&str>,
    ) -> Result<(Response<Incoming>, Option<String>), Error> {
        let registry = &question.repository.registry;
        let mut response = self.ask(question).await?;
        let mut at = Url::parse(&self.uri(registry, "/")).map_err(|source| Error::protocol(registry, source))?;
        let mut storage = None;
        for _ in 0..MOST_HOPS {
            if !response.status().is_redirection() {
                break;
            }
            at = self.target(registry, &at, response.headers())?;
            storage = Some(host_and_port(&at));
            let request = storage_request(&at, range).map_err(|source| Error::protocol(registry, source))?;
            response = self.send(request, registry).await?;
        }
        if response.status().is_redirection() {
            return Err(Error::protocol(registry, format!("it redirected more than {MOST_HOPS} times")));
        }
        Ok((response, storage))
    }

    fn target(&self, registry: &Registry, at: &Url, headers: &HeaderMap) -> Result<Url, Error> {
        let location = headers.get(LOCATION).and_then(|value| value.to_str().ok());
        let location = location.ok_or_else(|| Error::protocol(registry, "it redirected to nowhere"))?;
        let mut target = at.join(location).map_err(|source| Error::protocol(registry, source))?;
        // what stands in front of an @ is a credential: it is neither used nor shown
        let _ = target.set_username("").and_then(|()| target.set_password(None));
        if target.scheme() == "https" || (target.scheme() == "http" && self.is_plain(registry)) {
            return Ok(target);
        }
        let host = target.host_str().unwrap_or_default();
        Err(Error::protocol(registry, format!("it redirected to {}://{host}, which is not https", target.scheme())))
    }
}

impl BlobBody {
    /// The next bytes; `None` at the end, which is checked against nothing here.
    pub async fn next(&mut self, upstream: &Upstream, registry: &Registry) -> Option<Result<Bytes, Error>> {
        loop {
            let frame = match upstream.timed(self.body.frame()).await {
                None => return Some(Err(Error::silent(registry, &self.host, upstream.idle_timeout()))),
                Some(None) => return None,
                Some(Some(Err(source))) => return Some(Err(Error::unreachable(registry, &self.host, source))),
                Some(Some(Ok(frame))) => frame,
            };
            if let Ok(bytes) = frame.into_data() {
                return Some(Ok(bytes));
            }
        }
    }
}

fn storage_request(at: &Url, range: Option<&str>) -> hyper::http::Result<Request<http_body_util::Empty<Bytes>>> {
    let uri: Uri = at.as_str().parse()?;
    let mut request = bare_request(&uri)?;
    if let Some(range) = range {
        request.headers_mut().insert(RANGE, range.parse()?);
    }
    Ok(request)
}

/// A URL's host and port, as far as it has one.
fn host_and_port(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

pub(super) fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// First byte and size of the whole of `bytes 5-9/10` or `bytes 5-9/*`.
pub(super) fn content_range(headers: &HeaderMap) -> Option<(u64, Option<u64>)> {
    let text = headers.get(CONTENT_RANGE)?.to_str().ok()?;
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let start = range.split_once('-')?.0.trim().parse().ok()?;
    Some((start, total.trim().parse().ok()))
}
