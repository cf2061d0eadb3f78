//! The request log and the counters: what every client sent, in order, on every listener but control.
//!
//! A request is entered when its head has been read. The log never says that bytes arrived, only that
//! they were handed to the kernel.
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::State;
use super::call::ApiCall;
use super::http::Incoming;
use super::request::{Listener, Request, Stats, count};

#[derive(Debug, Default)]
struct Inner {
    requests: Vec<Request>,
    stats: Stats,
    next: u64,
    running: BTreeMap<Listener, u64>,
    sent: BTreeMap<String, Vec<(u64, u64)>>,
    calls: Vec<ApiCall>,
}

/// The log behind its lock.
#[derive(Debug, Default)]
pub(super) struct Log(Mutex<Inner>);

impl Log {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn requests(&self) -> Vec<Request> {
        self.lock().requests.clone()
    }

    pub(super) fn calls(&self) -> Vec<ApiCall> {
        self.lock().calls.clone()
    }

    pub(super) fn called(&self, call: ApiCall) {
        self.lock().calls.push(call);
    }

    pub(super) fn stats(&self) -> Stats {
        self.lock().stats.clone()
    }

    pub(super) fn clear(&self) {
        let mut inner = self.lock();
        inner.requests.clear();
        inner.sent.clear();
        inner.calls.clear();
        let open_connections = std::mem::take(&mut inner.stats.open_connections);
        inner.stats = Stats { open_connections, ..Stats::default() };
    }

    pub(super) fn opened(&self, listener: Listener) {
        let mut inner = self.lock();
        *inner.stats.connections.entry(listener).or_default() += 1;
        *inner.stats.open_connections.entry(listener).or_default() += 1;
    }

    pub(super) fn closed(&self, listener: Listener) {
        let mut inner = self.lock();
        let open = inner.stats.open_connections.entry(listener).or_default();
        *open = open.saturating_sub(1);
    }

    pub(super) fn open(&self, listener: Listener) -> u64 {
        let inner = self.lock();
        let open = inner.stats.open_connections.get(&listener);
        open.copied().unwrap_or(0)
    }

    fn enter(&self, mut request: Request) -> u64 {
        let mut inner = self.lock();
        inner.next += 1;
        request.id = inner.next;
        let running = inner.running.entry(request.listener).or_default();
        *running += 1;
        let running = *running;
        let most = inner.stats.max_concurrency.entry(request.listener);
        let most = most.or_default();
        *most = running.max(*most);
        count(&mut inner.stats, &request);
        let id = request.id;
        inner.requests.push(request);
        id
    }

    fn change(&self, id: u64, change: impl FnOnce(&mut Request)) {
        let mut inner = self.lock();
        if let Ok(at) = inner.requests.binary_search_by_key(&id, |r| r.id) {
            change(&mut inner.requests[at]);
        }
    }
}

/// The log's hand on one request in progress. Dropping it unfinished means the answer was aborted.
pub(super) struct Entry<'a> {
    log: &'a Log,
    id: u64,
    listener: Listener,
    running: bool,
    finished: bool,
    offset: u64,
    sent: u64,
    /// Digest whose bytes are being sent, once the answer is known to carry them.
    digest: Option<String>,
}

/// What is known of a request before it is answered.
pub(super) struct Arrival<'a> {
    pub(super) incoming: &'a Incoming,
    pub(super) listener: Listener,
    pub(super) tls: bool,
    pub(super) connection: u64,
    pub(super) digest: Option<String>,
    pub(super) action: Option<String>,
    pub(super) region: Option<String>,
}

impl<'a> Entry<'a> {
    pub(super) fn new(state: &'a State, arrival: Arrival<'_>) -> Self {
        let at: Duration = state.clock.now();
        let request = Request {
            id: 0,
            at_ms: u64::try_from(at.as_millis()).unwrap_or(0),
            listener: arrival.listener,
            tls: arrival.tls,
            connection: arrival.connection,
            method: arrival.incoming.method.clone(),
            target: arrival.incoming.target.clone(),
            host: arrival.incoming.host(),
            region: arrival.region,
            headers: arrival.incoming.headers.clone(),
            body_length: arrival.incoming.body.len(),
            digest: arrival.digest,
            action: arrival.action,
            status: None,
            bytes_sent: 0,
            finished: false,
            aborted: false,
        };
        Self {
            log: &state.log,
            id: state.log.enter(request),
            listener: arrival.listener,
            running: true,
            finished: false,
            offset: 0,
            sent: 0,
            digest: None,
        }
    }

    /// The answer begins; `object` is the digest and offset of the stored bytes it carries.
    pub(super) fn answered(&mut self, status: u16, object: Option<(String, u64)>) {
        self.log.change(self.id, |r| r.status = Some(status));
        if let Some((digest, offset)) = object {
            (self.digest, self.offset) = (Some(digest), offset);
        }
    }

    /// `count` bytes are about to be written: entered first, so that a client never knows more than the log.
    pub(super) fn sending(&mut self, count: usize) {
        let count = u64::try_from(count).unwrap_or(0);
        self.sent += count;
        self.log.change(self.id, |r| r.bytes_sent += count);
        if let Some(digest) = self.digest.clone() {
            let from = self.offset + self.sent - count;
            self.log.lock().sent(&digest, (from, from + count));
        }
    }

    /// The last write comes next: the request no longer counts as in progress.
    pub(super) fn ending(&mut self) {
        if std::mem::take(&mut self.running) {
            let mut inner = self.log.lock();
            let running = inner.running.entry(self.listener).or_default();
            *running = running.saturating_sub(1);
        }
    }

    /// Everything is written.
    pub(super) fn finished(&mut self) {
        self.finished = true;
        self.log.change(self.id, |r| r.finished = true);
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        self.ending();
        if !self.finished {
            self.log.change(self.id, |r| r.aborted = true);
        }
    }
}

impl Inner {
    fn sent(&mut self, digest: &str, (from, to): (u64, u64)) {
        let stats = &mut self.stats;
        *stats.s3_bytes.entry(digest.to_owned()).or_default() += to - from;
        let spans = self.sent.entry(digest.to_owned()).or_default();
        let again: u64 = spans.iter().map(|&(start, end)| end.min(to).saturating_sub(start.max(from))).sum();
        if again > 0 {
            *stats.refetched.entry(digest.to_owned()).or_default() += again;
        }
        merge(spans, (from, to));
    }
}

/// Adds a span to disjoint sorted spans.
fn merge(spans: &mut Vec<(u64, u64)>, added: (u64, u64)) {
    spans.push(added);
    spans.sort_unstable();
    let mut merged: Vec<(u64, u64)> = Vec::with_capacity(spans.len());
    for &(start, end) in spans.iter() {
        match merged.last_mut() {
            Some(last) if start <= last.1 => last.1 = last.1.max(end),
            _ => merged.push((start, end)),
        }
    }
    *spans = merged;
}
