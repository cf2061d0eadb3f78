//! What the log holds: requests as they came in, and counters.
//!
//! Only data here; `log.rs` says when it changes.
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Which of the fake's sockets. The TLS and plain twins count as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Listener {
    /// The registry, private and public.
    Registry,
    /// The blob storage: S3 and `CloudFront`.
    S3,
    /// The AWS API.
    Api,
    /// The HTTP proxy; what goes through its tunnels is logged as `Api`.
    Proxy,
    /// Instance metadata and container credentials.
    Metadata,
    /// The fake's own control interface; never logged, never faulty.
    Control,
}

/// One request as it came in and what became of it.
#[derive(Clone, Debug, Serialize)]
pub struct Request {
    /// Counts from 1, never reused.
    pub id: u64,
    /// Virtual milliseconds since the epoch.
    pub at_ms: u64,
    /// Where it came in.
    pub listener: Listener,
    /// Whether that was over TLS.
    pub tls: bool,
    /// Number of its connection; equal numbers mean the same connection.
    pub connection: u64,
    /// `GET`, ...
    pub method: String,
    /// Path and query as sent.
    pub target: String,
    /// Host header, lower case, without port.
    pub host: String,
    /// Region of the host or of the `SigV4` credential.
    pub region: Option<String>,
    /// Headers in order and in the client's spelling.
    pub headers: Vec<(String, String)>,
    /// Bytes of the request's body.
    pub body_length: usize,
    /// Digest of the blob that was asked for.
    pub digest: Option<String>,
    /// The AWS action it is or stands for, such as `BatchGetImage`.
    pub action: Option<String>,
    /// `None` until the answer begins.
    pub status: Option<u16>,
    /// Bytes of the answer's body that were written.
    pub bytes_sent: u64,
    /// The whole answer was written.
    pub finished: bool,
    /// The answer ended early, by a fault or because the client went away.
    pub aborted: bool,
}

impl Request {
    /// The first header of that name, any case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut named = self.headers.iter();
        let found = named.find(|(other, _)| other.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// The target without its query.
    #[must_use]
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or("")
    }
}

/// Counters since the start or the last [`clear_requests`](super::FakeEcr::clear_requests).
#[derive(Clone, Debug, Default, Serialize)]
pub struct Stats {
    /// Calls on the API listener by action.
    pub api_calls: BTreeMap<String, u64>,
    /// The same for what registry requests stand for (`BatchGetImage`, ...).
    pub registry_calls: BTreeMap<String, u64>,
    /// `GET`s of each digest on the S3 listener, whatever was answered.
    pub s3_gets: BTreeMap<String, u64>,
    /// Body bytes of 200 and 206 answers, by digest.
    pub s3_bytes: BTreeMap<String, u64>,
    /// Bytes of a digest that had been sent before, by digest; absent when none.
    pub refetched: BTreeMap<String, u64>,
    /// Connections accepted.
    pub connections: BTreeMap<Listener, u64>,
    /// Connections open now.
    pub open_connections: BTreeMap<Listener, u64>,
    /// Most requests in progress at one time.
    pub max_concurrency: BTreeMap<Listener, u64>,
    /// Defect: S3 requests with `Authorization`.
    pub authorization_seen: u64,
    /// Defect: S3 requests with `Referer`.
    pub referer_seen: u64,
    /// Defect: requests with `Cookie`, any listener.
    pub cookie_seen: u64,
    /// Defect: S3 requests with `Traceparent`.
    pub traceparent_seen: u64,
    /// Defect: `HEAD` on S3.
    pub head_seen: u64,
    /// Defect: `from=` of a mount that names a host.
    pub foreign_from: u64,
}

/// Counts a request that has come in.
pub(super) fn count(stats: &mut Stats, request: &Request) {
    let has = |name: &str| u64::from(request.header(name).is_some());
    let action = request.action.clone();
    stats.cookie_seen += has("cookie");
    match (request.listener, action) {
        (Listener::Api, Some(action)) => *stats.api_calls.entry(action).or_default() += 1,
        (Listener::Registry, Some(action)) => {
            *stats.registry_calls.entry(action).or_default() += 1;
            let query = request.target.split_once('?').map_or("", |(_, query)| query);
            let mut pairs = url::form_urlencoded::parse(query.as_bytes());
            let from = pairs.find(|(name, _)| name == "from");
            let first = from.and_then(|(_, from)| from.split('/').next().map(str::to_owned));
            let host = first.is_some_and(|name| name == "localhost" || name.contains(['.', ':']));
            let mount = request.method == "POST" && query.contains("mount=");
            stats.foreign_from += u64::from(mount && host);
        }
        (Listener::S3, _) => {
            stats.authorization_seen += has("authorization");
            stats.referer_seen += has("referer");
            stats.traceparent_seen += has("traceparent");
            stats.head_seen += u64::from(request.method == "HEAD");
            if let (Some(digest), "GET") = (&request.digest, request.method.as_str()) {
                *stats.s3_gets.entry(digest.clone()).or_default() += 1;
            }
        }
        _ => {}
    }
}
