//! Fetching blobs: the registry's answer, or the storage it redirects to.
//!
//! Blobs are never asked for by HEAD where that is known to fail (ECR Public answers 401 to it); nothing here checks
//! digests, and nothing is written.

use std::{fmt, ops::Range};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::{
    Method, Request, Response, StatusCode, Uri,
    body::Incoming,
    header::{CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap, HeaderValue, IF_RANGE, LOCATION, RANGE},
};
use tracing::debug;
use url::Url;

use super::{Error, Question, Upstream, bare_request, breaker::PROBED_REST};
use crate::{
    chain::chain,
    oci::{Digest, Registry, Repository},
};

/// Storage redirects at most once; a pull-through rule of ECR may add one hop.
const MOST_HOPS: usize = 5;

/// Which blob, and for whom.
#[derive(Clone, Copy, Debug)]
pub struct BlobQuestion<'a> {
    /// Where it is asked for.
    pub repository: &'a Repository,
    /// Which one.
    pub digest: &'a Digest,
    /// Who asks, for the registry's own log.
    pub client: &'a str,
}

/// Where a registry said that the bytes of a blob are, to be asked there again without asking the registry.
#[derive(Clone)]
pub struct Storage {
    /// signed, most often: whoever has it can read the blob
    url: Url,
    etag: Option<HeaderValue>,
}

/// The bytes of a blob on their way, from the byte that was asked for.
#[derive(Debug)]
pub struct BlobBody {
    /// The size of the whole blob, when the upstream told it.
    pub total: Option<u64>,
    /// Where in the blob the first of these bytes belongs: a server may ignore what was asked and start anew.
    pub start: u64,
    /// Where the bytes come from, when it is not the registry itself.
    pub storage: Option<Storage>,
    /// Whether a part came, as was asked, rather than the whole.
    pub is_part: bool,
    /// Names the version of the bytes, if it is one that can be relied upon.
    pub etag: Option<HeaderValue>,
    /// Which host sends them.
    pub host: String,
    body: Incoming,
}

impl fmt::Debug for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&host_and_port(&self.url))
    }
}

impl Upstream {
    /// Starts fetching a blob: the bytes of `wanted`, or all of it. With `known`, the storage is asked at once; if it does
    /// not want to know any more (a signed URL is over after a while) or does not answer, the registry is asked where the
    /// bytes are now.
    pub async fn blob(
        &self,
        question: BlobQuestion<'_>,
        wanted: Option<&Range<u64>>,
        known: Option<&Storage>,
    ) -> Result<BlobBody, Error> {
        let range = wanted.map(range_header);
        let Some(storage) = known else {
            return self.blob_anew(question, wanted, range.as_deref()).await;
        };
        let response = self.ask_storage(question.repository, &storage.url, range.as_deref(), storage.etag.as_ref());
        match response.await {
            Ok(response) if response.status().is_success() => {
                body(question.repository, response, wanted, Some(storage.url.clone()))
            }
            Ok(response) => match self.blob_anew(question, wanted, range.as_deref()).await {
                // it was asked: that its host is left alone since then tells less
                Err(error) if error.is_rest() => {
                    Err(self.no_blob(question.repository, response, Some(&storage.url)).await)
                }
                anew => anew,
            },
            Err(error) if may_have_moved(&error) => {
                let anew = self.blob_anew(question, wanted, range.as_deref()).await;
                anew.map_err(|other| {
                    debug!(digest = %question.digest, error = chain(&other), "the registry tells no other place");
                    // the storage may be back in a moment
                    error
                })
            }
            Err(error) => Err(error),
        }
    }

    /// Asks the registry where the bytes are, and there for them.
    async fn blob_anew(
        &self,
        question: BlobQuestion<'_>,
        wanted: Option<&Range<u64>>,
        range: Option<&str>,
    ) -> Result<BlobBody, Error> {
        let BlobQuestion { repository, digest, client } = question;
        let path = format!("blobs/{digest}");
        let asked = Question { method: Method::GET, repository, path, accept: None, range, client };
        let (response, url) = self.follow(&asked, range).await?;
        match response.status() {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT => body(repository, response, wanted, url),
            // of no bytes there is no first one: a range of nothing cannot be asked for
            StatusCode::RANGE_NOT_SATISFIABLE if wanted.is_some_and(|wanted| wanted.start == 0) => {
                let whole = Question { range: None, ..asked };
                let (response, url) = self.follow(&whole, None).await?;
                match response.status() {
                    StatusCode::OK => body(repository, response, None, url),
                    _ => Err(self.no_blob(repository, response, url.as_ref()).await),
                }
            }
            _ => Err(self.no_blob(repository, response, url.as_ref()).await),
        }
    }

    /// Asks the storage a registry pointed to. Whoever was redirected there is not told of the registry, nor the other way
    /// round.
    async fn ask_storage(
        &self,
        repository: &Repository,
        url: &Url,
        range: Option<&str>,
        etag: Option<&HeaderValue>,
    ) -> Result<Response<Incoming>, Error> {
        let registry = &repository.registry;
        let mut request = storage_request(url, range).map_err(|source| Error::protocol(registry, source))?;
        if let Some(etag) = etag.filter(|_| range.is_some()) {
            request.headers_mut().insert(IF_RANGE, etag.clone());
        }
        self.send(request, registry).await
    }

    /// A no of the registry is about what was asked. A no of the storage behind it (a signed URL that is over, most
    /// often) is not: asking the registry again may help.
    pub(super) async fn no_blob(
        &self,
        repository: &Repository,
        response: Response<Incoming>,
        storage: Option<&Url>,
    ) -> Error {
        let Some(host) = storage.map(host_and_port) else {
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
    ) -> Result<(Response<Incoming>, Option<Url>), Error> {
        let registry = &question.repository.registry;
        let mut response = self.ask(question).await?;
        let mut at = Url::parse(&self.uri(registry, "/")).map_err(|source| Error::protocol(registry, source))?;
        let mut storage = None;
        for _ in 0..MOST_HOPS {
            if !response.status().is_redirection() {
                break;
            }
            at = self.target(registry, &at, response.headers())?;
            storage = Some(at.clone());
            response = self.ask_storage(question.repository, &at, range, None).await?;
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

/// Whether a storage that does not answer is worth asking the registry for another place: not each time somebody looks whether
/// it is back.
fn may_have_moved(error: &Error) -> bool {
    match error {
        Error::Unreachable { .. } => true,
        Error::Down { rest, .. } => *rest > PROBED_REST,
        _ => false,
    }
}

/// What came, when it can be the wanted bytes or the whole.
fn body(
    repository: &Repository,
    response: Response<Incoming>,
    wanted: Option<&Range<u64>>,
    url: Option<Url>,
) -> Result<BlobBody, Error> {
    let registry = &repository.registry;
    let headers = response.headers();
    let is_part = response.status() == StatusCode::PARTIAL_CONTENT;
    let (start, total) = if is_part {
        let (start, total) =
            content_range(headers).ok_or_else(|| Error::protocol(registry, "a part came without saying which"))?;
        let want = wanted.map_or(0, |wanted| wanted.start);
        if start != want {
            return Err(Error::protocol(registry, format!("bytes from {start} came for bytes from {want}")));
        }
        (start, total)
    } else {
        (0, content_length(headers))
    };
    // a weak one says nothing about bytes (RFC 9110 section 8.8.1)
    let etag = headers.get(ETAG).filter(|etag| etag.as_bytes().starts_with(b"\"")).cloned();
    let host = url.as_ref().map_or_else(|| registry.to_string(), host_and_port);
    let storage = url.map(|url| Storage { url, etag: etag.clone() });
    Ok(BlobBody { total, start, is_part, storage, etag, host, body: response.into_body() })
}

/// An open end is one that no blob reaches.
fn range_header(wanted: &Range<u64>) -> String {
    match wanted.end {
        u64::MAX => format!("bytes={}-", wanted.start),
        end => format!("bytes={}-{}", wanted.start, end - 1),
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
