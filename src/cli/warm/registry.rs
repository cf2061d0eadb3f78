//! [`Registry`]: the daemon as a client sees it, a registry on this machine.
//!
//! Speaks plain HTTP to one address; proxies of the environment are for what is not this machine.

use std::{fmt, net::SocketAddr, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{
    Request, Response,
    body::Incoming,
    header::{ACCEPT, USER_AGENT},
};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::time::timeout;

use crate::{
    chain::chain,
    oci::{Accept, Digest, Reference, UpstreamError},
};

const SIGN: &str = "x-longshore-cache";
const AGENT: &str = concat!("longshore-warm/", env!("CARGO_PKG_VERSION"));
/// What asks nobody takes no longer.
pub(super) const HELLO: Duration = Duration::from_secs(3);
/// Longer than the daemon waits for an upstream that says nothing, and asks it again.
const SILENCE: Duration = Duration::from_mins(5);
/// Twice what the specification asks registries to take.
const MOST_OF_A_MANIFEST: usize = 8 << 20;
/// An error's words are few.
const MOST_OF_AN_ERROR: usize = 64 << 10;

/// How the daemon came by what it served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// It had it.
    Cache,
    /// It had it, and could not ask whether it is the newest.
    Stale,
    /// It fetched it, for this pull or for one under way.
    Upstream,
}

/// A manifest as it was served.
pub(super) struct Served {
    pub(super) digest: Digest,
    pub(super) bytes: Bytes,
    pub(super) origin: Origin,
}

/// Why a blob did not come whole.
pub(super) enum Broken {
    /// The daemon said why.
    Refused(String),
    /// The connection ended after so many bytes.
    Off(u64, String),
}

#[derive(Clone)]
pub(super) struct Registry {
    client: Client<HttpConnector, Empty<Bytes>>,
    pub(super) address: SocketAddr,
}

impl Registry {
    pub(super) fn new(address: SocketAddr) -> Self {
        Self { client: Client::builder(TokioExecutor::new()).build_http(), address }
    }

    /// Whether a daemon of this program answers.
    pub(super) async fn is_longshore(&self) -> bool {
        let asked = timeout(HELLO, self.ask("/v2/", None)).await;
        asked.is_ok_and(|answer| answer.is_ok_and(|answer| answer.headers().contains_key(SIGN)))
    }

    pub(super) async fn manifest(&self, name: &str, reference: &Reference) -> Result<Served, String> {
        let accept = Accept::new([]);
        let answer = self.get(&format!("/v2/{name}/manifests/{reference}"), Some(accept.as_str())).await?;
        let origin = origin(&answer);
        let body = Limited::new(answer.into_body(), MOST_OF_A_MANIFEST).collect();
        let body = timeout(SILENCE, body).await.map_err(|_| "the daemon sends nothing more".to_owned())?;
        let bytes = body.map_err(|error| format!("the manifest broke off: {}", chain(&*error)))?.to_bytes();
        Ok(Served { digest: Digest::of(&bytes), bytes, origin })
    }

    /// Reads a blob to its end and keeps nothing of it: the daemon does. `came` is told of each piece.
    pub(super) async fn blob(
        &self,
        name: &str,
        digest: &Digest,
        came: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<(u64, Origin), Broken> {
        let answer = self.get(&format!("/v2/{name}/blobs/{digest}"), None).await.map_err(Broken::Refused)?;
        let origin = origin(&answer);
        let mut body = answer.into_body();
        let mut read = 0;
        loop {
            let frame = timeout(SILENCE, body.frame()).await;
            let frame = frame.map_err(|_| Broken::Off(read, "nothing more came".to_owned()))?;
            let Some(frame) = frame else { return Ok((read, origin)) };
            let frame = frame.map_err(|error| Broken::Off(read, chain(&error)))?;
            let bytes = frame.data_ref().map_or(0, |bytes| bytes.len() as u64);
            read += bytes;
            came(bytes);
        }
    }

    async fn get(&self, path: &str, accept: Option<&str>) -> Result<Response<Incoming>, String> {
        let asked = timeout(SILENCE, self.ask(path, accept)).await;
        let answer = asked.map_err(|_| "the daemon gives no answer".to_owned())??;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MOST_OF_AN_ERROR).collect();
        let body = timeout(SILENCE, body).await.ok().and_then(Result::ok);
        let words = body.map(|body| UpstreamError::parse(&body.to_bytes()).message).filter(|words| !words.is_empty());
        Err(words.unwrap_or_else(|| format!("the daemon answers {status}")))
    }

    async fn ask(&self, path: &str, accept: Option<&str>) -> Result<Response<Incoming>, String> {
        let mut request = Request::get(format!("http://{}{path}", self.address)).header(USER_AGENT, AGENT);
        if let Some(accept) = accept {
            request = request.header(ACCEPT, accept);
        }
        let request = request.body(Empty::new()).map_err(|error| error.to_string())?;
        let answer = self.client.request(request).await;
        answer.map_err(|error| format!("the daemon on {} does not answer: {}", self.address, chain(&error)))
    }
}

fn origin(answer: &Response<Incoming>) -> Origin {
    match answer.headers().get(SIGN).map(hyper::header::HeaderValue::as_bytes) {
        Some(b"hit") => Origin::Cache,
        Some(b"stale") => Origin::Stale,
        _ => Origin::Upstream,
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(words) => f.write_str(words),
            Self::Off(bytes, words) => {
                write!(f, "it broke off after {bytes} bytes: {words}; the daemon's log may say why")
            }
        }
    }
}
