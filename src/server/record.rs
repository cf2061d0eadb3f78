//! [`Record`]: the one log line of a request, written when its body is over or dropped.
//!
//! Holds no header of the request but the client's name: credentials cannot get into it.

use std::{net::IpAddr, time::Instant};

use hyper::{Method, StatusCode};
use tracing::info;

use crate::cache::Status;

/// What is logged of one request.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) started: Instant,
    pub(super) peer: IpAddr,
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) client: String,
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
            path = self.path,
            status = self.status.as_u16(),
            cache = self.cache.as_str(),
            sent = self.sent,
            upstream_bytes = self.upstream_bytes,
            milliseconds = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            client = self.client,
            broken = self.broken,
            "request"
        );
    }
}
