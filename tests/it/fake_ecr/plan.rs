//! A fault rule, ready to act: its actions sorted by when they do.
//!
//! This is the one place where a rule changes a request or an answer; it writes no byte.
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::State;
use super::fault::{Action, Fault};
use super::hello::gzip;
use super::http::{Answer, Incoming};
use super::{s3, token};

/// The actions of the rule that hit, sorted by when they act.
pub(super) struct Plan {
    fault: Option<Arc<Fault>>,
    pub(super) hold: bool,
    pub(super) delay: Duration,
    pub(super) first_byte: Duration,
    pub(super) rate: Option<u64>,
    pub(super) chunked: bool,
    pub(super) longer: i64,
    pub(super) stops: Vec<(usize, Stop)>,
}

/// What happens when so many bytes of a body are written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    Hold,
    Stall(Duration),
    Reset,
    Fin,
}

impl Plan {
    pub(super) fn new(fault: Option<Arc<Fault>>) -> Self {
        let mut plan = Self {
            fault,
            hold: false,
            delay: Duration::ZERO,
            first_byte: Duration::ZERO,
            rate: None,
            chunked: false,
            longer: 0,
            stops: Vec::new(),
        };
        let at = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        let actions = plan.fault.iter().flat_map(|fault| fault.actions());
        for action in actions {
            match action {
                Action::Hold => plan.hold = true,
                Action::DelayMs(time) => plan.delay = Duration::from_millis(*time),
                Action::FirstByteMs(time) => plan.first_byte = Duration::from_millis(*time),
                Action::BytesPerSecond(rate) => plan.rate = Some((*rate).max(1)),
                Action::Chunked => plan.chunked = true,
                Action::WrongLength(by) => plan.longer = *by,
                Action::HoldAfter(bytes) => plan.stops.push((at(*bytes), Stop::Hold)),
                Action::ResetAfter(bytes) => plan.stops.push((at(*bytes), Stop::Reset)),
                Action::FinAfter(bytes) => plan.stops.push((at(*bytes), Stop::Fin)),
                Action::StallAfter(bytes, time) => {
                    let stall = Stop::Stall(Duration::from_millis(*time));
                    plan.stops.push((at(*bytes), stall));
                }
                _ => {}
            }
        }
        plan.stops.sort_by_key(|(at, _)| *at);
        plan
    }

    fn actions(&self) -> impl Iterator<Item = &Action> {
        self.fault.iter().flat_map(|fault| fault.actions())
    }

    pub(super) fn reach(&self) {
        if let Some(fault) = &self.fault {
            fault.reach();
        }
    }

    pub(super) async fn released(&self) {
        if let Some(fault) = &self.fault {
            fault.released().await;
        }
    }

    /// What happens to the world and to the request before it is routed.
    pub(super) fn before(&self, state: &State, incoming: &mut Incoming) {
        for action in self.actions() {
            match action {
                Action::ExpireTokens => token::expire_all(state),
                Action::ExpireUrls => s3::expire_all(state),
                Action::IgnoreRange => incoming.headers.retain(|(name, _)| !name.eq_ignore_ascii_case("range")),
                _ => {}
            }
        }
    }

    /// The answer of a request that is not routed at all.
    pub(super) fn instead(&self) -> Option<Answer> {
        self.actions().find_map(|action| match action {
            Action::Status(status) => Some(Answer::new(*status)),
            Action::RedirectLoop => Some(Answer::new(307)),
            Action::CloseBeforeResponse => Some(Answer { silent: true, ..Answer::new(500) }),
            _ => None,
        })
    }

    pub(super) fn changed(&self, mut answer: Answer, incoming: &Incoming) -> Answer {
        for action in self.actions() {
            match action {
                Action::Body(body) => answer.body = Bytes::copy_from_slice(body),
                Action::SetHeader(name, value) => answer.set(name, value),
                Action::DropHeader(name) => answer.remove(name),
                Action::FlipByte(at) => {
                    answer.body = flipped(&answer.body, *at..at.saturating_add(1));
                }
                Action::SwapBody => answer.body = flipped(&answer.body, 0..answer.body.len()),
                Action::GzipEncode => {
                    answer.body = gzip(&answer.body).into();
                    answer.set("Content-Encoding", "gzip");
                }
                Action::WrongContentRange => shift_range(&mut answer),
                Action::RedirectLoop => answer.set("Location", &incoming.target),
                _ => {}
            }
        }
        answer
    }
}

fn flipped(body: &Bytes, range: std::ops::Range<usize>) -> Bytes {
    let mut bytes = body.to_vec();
    for byte in bytes.get_mut(range).unwrap_or(&mut []) {
        *byte = !*byte;
    }
    bytes.into()
}

fn shift_range(answer: &mut Answer) {
    let shifted = answer.header("content-range").and_then(|range| {
        let (first, rest) = range.strip_prefix("bytes ")?.split_once('-')?;
        let first: u64 = first.parse().ok()?;
        Some(format!("bytes {}-{rest}", first + 1))
    });
    if let Some(range) = shifted {
        answer.set("Content-Range", &range);
    }
}
