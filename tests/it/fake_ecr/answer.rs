//! From a request to an answer: log, faults, routing, writing, in this order.
//!
//! It never decides what an answer says; that is the handlers' and the fault rule's.
use std::io;
use std::sync::Arc;

use super::State;
use super::call::ApiCall;
use super::connection::{Connection, head};
use super::fault::Subject;
use super::http::{Answer, Incoming};
use super::log::{Arrival, Entry};
use super::plan::Plan;
use super::request::Listener;
use super::writing::Writing;
use super::{api, control, metadata, proxy, registry, s3};

/// Who sent a request.
#[derive(Clone, Copy)]
pub(super) struct Caller {
    pub(super) listener: Listener,
    pub(super) tls: bool,
    pub(super) connection: u64,
}

/// Answers one request. `false` means that the connection ends in order, an error that it just ends.
pub(super) async fn exchange(
    state: &Arc<State>,
    caller: Caller,
    mut incoming: Incoming,
    connection: &mut Connection,
) -> io::Result<bool> {
    if caller.listener == Listener::Control {
        let answer = control::answer(state, &incoming).await;
        return plain(state, &incoming, &answer, connection).await;
    }
    let about = about(state, caller.listener, &incoming);
    let arrival = Arrival {
        incoming: &incoming,
        listener: caller.listener,
        tls: caller.tls,
        connection: caller.connection,
        digest: about.digest.clone(),
        action: about.action.clone(),
        region: about.region,
    };
    let mut entry = Entry::new(state, arrival);
    if caller.listener == Listener::Api {
        state.log.called(ApiCall::of(state, caller.tls, &incoming));
    }
    let fault = state.faults.of_request(&Subject {
        listener: caller.listener,
        incoming: &incoming,
        digest: about.digest.as_deref(),
        action: about.action.as_deref(),
    });
    let plan = Plan::new(fault);
    let latency = state.knobs.lock(|knobs| knobs.latency);
    connection.pause(latency + plan.delay).await?;
    if plan.hold {
        plan.reach();
        connection.wait(plan.released()).await?;
    }
    plan.before(state, &mut incoming);
    let answer = match plan.instead() {
        Some(answer) => answer,
        None if caller.listener == Listener::Proxy && proxy::opens(state, &incoming) => {
            entry.answered(200, None);
            entry.ending();
            entry.finished();
            return proxy::tunnel(state, connection).await;
        }
        None => route(state, caller.listener, &incoming),
    };
    if answer.silent {
        return Err(io::ErrorKind::ConnectionAborted.into());
    }
    let object = carried(caller.listener, &answer, about.digest);
    let answer = plan.changed(answer, &incoming);
    entry.answered(answer.status, object);
    let link = caller.listener == Listener::S3;
    let mut writing = Writing { state, connection, entry: &mut entry, plan: &plan, link };
    let keep = writing.write(&incoming, &answer).await?;
    entry.finished();
    Ok(keep)
}

fn route(state: &State, listener: Listener, incoming: &Incoming) -> Answer {
    match listener {
        Listener::Registry => registry::answer(state, incoming),
        Listener::S3 => s3::answer(state, incoming, true),
        Listener::Api => api::answer(state, incoming),
        Listener::Proxy => proxy::refusal(state, incoming),
        Listener::Metadata => metadata::answer(state, incoming),
        Listener::Control => Answer::new(500),
    }
}

/// What the log and the rules want to know before the request is answered.
pub(super) struct About {
    pub(super) digest: Option<String>,
    pub(super) action: Option<String>,
    pub(super) region: Option<String>,
}

fn about(state: &State, listener: Listener, incoming: &Incoming) -> About {
    match listener {
        Listener::Registry => registry::about(incoming),
        Listener::Api => api::about(incoming),
        Listener::Proxy | Listener::Metadata => About { digest: None, action: None, region: None },
        Listener::S3 | Listener::Control => About {
            digest: state.store().objects.get(incoming.path()).cloned(),
            action: None,
            region: s3::region_of(&incoming.host()),
        },
    }
}

/// The digest and first offset of the stored bytes in a storage answer.
fn carried(listener: Listener, answer: &Answer, digest: Option<String>) -> Option<(String, u64)> {
    if listener != Listener::S3 || !matches!(answer.status, 200 | 206) {
        return None;
    }
    let range = answer.header("content-range").unwrap_or("bytes 0-");
    let first = range.trim_start_matches("bytes ").split('-').next();
    Some((digest?, first.and_then(|n| n.parse().ok()).unwrap_or(0)))
}

/// An answer without log and faults.
async fn plain(state: &State, incoming: &Incoming, answer: &Answer, connection: &mut Connection) -> io::Result<bool> {
    let date = state.clock.http_date();
    let length = i128::try_from(answer.body.len()).unwrap_or(0);
    let mut bytes = head(answer, &date, Some(length), incoming.keep_alive);
    if !incoming.is_head() {
        bytes.extend_from_slice(&answer.body);
    }
    connection.write(&bytes).await?;
    Ok(incoming.keep_alive)
}
