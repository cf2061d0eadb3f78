//! Sending one request: whether its host is worth asking, how often, and what is learned of the host from it.
//!
//! Judges answers by their status alone; what they say of the thing that was asked for is for others.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::Empty;
use hyper::{Request, Response, StatusCode, Uri, body::Incoming};
use tracing::{debug, info, warn};

use super::{Error, Patience, Question, Upstream, breaker::Down, error::OutOfOrder, patience};
use crate::{chain::chain, oci::Registry};

impl Upstream {
    /// Asks as [`ask`](Self::ask) does, and again as long as `patience` lasts when the upstream is out of order: a
    /// connection that breaks, a 5xx, or a wait that the upstream asked for.
    pub(super) async fn ask_patiently(
        &self,
        question: &Question<'_>,
        mut patience: Option<Patience>,
    ) -> Result<Response<Incoming>, Error> {
        loop {
            let error = match self.ask(question).await {
                Ok(response) if is_passing(response.status()) => {
                    Error::Refused(self.refusal(question.repository, response).await)
                }
                Ok(response) => return Ok(response),
                Err(error) => error,
            };
            let down = self.down(&question.repository.registry);
            let pause = patience.as_mut().and_then(|patience| {
                let pause = patience.pause(&error, Instant::now())?;
                // when it has gone down meanwhile, asking is of no use before its rest is over
                let rest = down.map_or(Some(Duration::ZERO), |down| patience.pause(&down, Instant::now()))?;
                Some(pause.max(rest))
            });
            let Some(pause) = pause else {
                // what happened to this question tells more than that its host is down
                return Err(error);
            };
            debug!(registry = %question.repository.registry, path = question.path, %error, ?pause, "asked again");
            tokio::time::sleep(pause).await;
        }
    }

    /// Whether there is any use in asking `registry`: what is known to fail costs neither time nor a token.
    pub(super) fn may_ask(&self, registry: &Registry) -> Result<(), Error> {
        if self.is_offline() {
            return Err(Error::Offline { registry: registry.clone() });
        }
        self.down(registry).map_or(Ok(()), Err)
    }

    /// Why a registry's own host is left alone, if it is.
    fn down(&self, registry: &Registry) -> Option<Error> {
        let host = host_and_port(&self.uri(registry, "/").parse().ok()?);
        self.breakers.down(&host, Instant::now()).map(|down| is_down(registry, &host, down))
    }

    /// Sends a request and waits for the head of the answer, unless its host is known to be down. Once more if the
    /// connection ended instead: an idle one may be closed by the other side just as it is taken up again, and nothing
    /// that is asked here changes anything.
    pub(super) async fn send(
        &self,
        request: Request<Empty<Bytes>>,
        registry: &Registry,
    ) -> Result<Response<Incoming>, Error> {
        let (host, asked) = (request.uri().host().unwrap_or_default().to_owned(), host_and_port(request.uri()));
        let entered = self.breakers.enter(&asked, Instant::now());
        let leave = entered.map_err(|down| is_down(registry, &asked, down))?;
        let again = request.clone();
        let mut sent = self.timed(self.client.request(request)).await;
        if matches!(&sent, Some(Err(error)) if !error.is_connect()) {
            sent = self.timed(self.client.request(again)).await;
        }
        let (error, answer) = match sent {
            Some(Ok(response)) if !response.status().is_server_error() => {
                if leave.answered(Instant::now()) {
                    info!(host = asked, "the host answers again");
                }
                return Ok(response);
            }
            Some(Ok(response)) => (Error::unreachable(registry, &host, OutOfOrder(response.status())), Some(response)),
            Some(Err(source)) => (Error::unreachable(registry, &host, source), None),
            None => (Error::silent(registry, &host, self.idle_timeout()), None),
        };
        let rest = error
            .cause()
            .and_then(|cause| leave.failed(Arc::clone(cause), error.is_timeout(), patience::lot(), Instant::now()));
        if let Some(rest) = rest {
            warn!(host = asked, error = chain(&error), ?rest, "the host is left alone for a while");
        }
        answer.ok_or(error)
    }
}

/// What an answer says that the same question may not be answered with a moment later.
pub(super) fn is_passing(status: StatusCode) -> bool {
    status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS
}

fn is_down(registry: &Registry, host: &str, down: Down) -> Error {
    let Down { failures, rest, cause } = down;
    Error::Down { registry: registry.clone(), host: host.to_owned(), failures, rest, source: cause }
}

fn host_and_port(uri: &Uri) -> String {
    let default = if uri.scheme_str() == Some("http") { 80 } else { 443 };
    format!("{}:{}", uri.host().unwrap_or_default(), uri.port_u16().unwrap_or(default))
}
