//! [`Record`]: the one log line of a request, written when its body is over or dropped.
//!
//! Holds no header of the request but the client's name: credentials cannot get into it.

use std::{net::IpAddr, time::Instant};

use hyper::{Method, StatusCode, Uri, header::HeaderValue};
use tracing::info;

use crate::cache::Status;

/// What is logged of one request.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) started: Instant,
    pub(super) peer: IpAddr,
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) client: Option<HeaderValue>,
    pub(super) status: StatusCode,
    pub(super) cache: Status,
    /// Bytes that came from upstream for this request.
    pub(super) upstream_bytes: u64,
    /// Bytes sent to the client.
    pub(super) sent: u64,
    /// Why the body ended before its end.
    pub(super) broken: Option<String>,
}

impl Drop for Record {
    fn drop(&mut self) {
        info!(
            target: "longshore::request",
            peer = %self.peer,
            method = %self.method,
            path = self.uri.path(),
            status = self.status.as_u16(),
            cache = self.cache.as_str(),
            sent = self.sent,
            upstream_bytes = self.upstream_bytes,
            milliseconds = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            client = self.client.as_ref().and_then(|client| client.to_str().ok()).unwrap_or_default(),
            broken = self.broken,
            "request"
        );
    }
}
