//! Fault rules: which requests they hit and what they do to them. The first rule that matches wins.
//!
//! A rule never sleeps to synchronise: a test holds an answer with [`Rule::hold_after`], awaits
//! [`FaultHandle::reached`] and lets go with [`FaultHandle::release`].
mod action;
mod rule;

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use tokio::sync::watch;

pub use action::Action;

use super::digest::mix;
use super::http::Incoming;
use super::request::Listener;

/// What has not happened by then never will.
const NEVER: Duration = Duration::from_secs(30);

/// Which requests are hit, and by what. In JSON the same names: `{"listener":"s3","method":"GET",
/// "digest":"sha256:…","nth_from":1,"nth_to":2,"actions":[{"reset_after":1000},"chunked"]}`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rule {
    listener: Option<Listener>,
    method: Option<String>,
    path: Option<String>,
    host: Option<String>,
    digest: Option<String>,
    action: Option<String>,
    header: Option<String>,
    nth_from: u64,
    nth_to: Option<u64>,
    chance: Option<(f64, u64)>,
    pub(super) actions: Vec<Action>,
}

/// What a rule is matched against.
pub(super) struct Subject<'a> {
    pub(super) listener: Listener,
    pub(super) incoming: &'a Incoming,
    pub(super) digest: Option<&'a str>,
    pub(super) action: Option<&'a str>,
}

/// A rule in force, counted.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) id: u64,
    rule: Rule,
    matched: AtomicU64,
    hits: AtomicUsize,
    removed: AtomicBool,
    reached: watch::Sender<usize>,
    released: watch::Sender<bool>,
}

/// The test's hand on a rule. Dropping it changes nothing.
#[derive(Clone, Debug)]
pub struct FaultHandle(pub(super) Arc<Fault>);

impl FaultHandle {
    /// How many requests (or connections) were hit.
    #[must_use]
    pub fn hits(&self) -> usize {
        self.0.hits.load(Ordering::SeqCst)
    }

    /// Nothing more is hit. What is held stays held until [`FaultHandle::release`].
    pub fn remove(&self) {
        self.0.removed.store(true, Ordering::SeqCst);
    }

    /// Lets go of everything the rule holds or stalls, now and later.
    pub fn release(&self) {
        self.0.released.send_replace(true);
    }

    /// Returns once the rule has taken effect: the bytes before a hold, stall or cut are written, or, for
    /// other actions, a request was hit.
    pub async fn reached(&self) {
        self.reached_times(1).await;
    }

    /// The same, for the `count`th time. A rule that nothing ever hits fails the test, rather than hanging it.
    pub async fn reached_times(&self, count: usize) {
        let mut reached = self.0.reached.subscribe();
        let hit = tokio::time::timeout(NEVER, reached.wait_for(|times| *times >= count)).await;
        assert!(hit.is_ok(), "no request was hit by {:?}", self.0.rule);
    }
}

impl Fault {
    pub(super) fn actions(&self) -> &[Action] {
        &self.rule.actions
    }

    pub(super) fn reach(&self) {
        self.reached.send_modify(|times| *times += 1);
    }

    pub(super) async fn released(&self) {
        let _ = self.released.subscribe().wait_for(|open| *open).await;
    }

    fn of_connections(&self) -> bool {
        self.actions()
            .iter()
            .any(|action| matches!(action, Action::TlsAbort | Action::HalfOpen | Action::ConnectionLimit(_)))
    }

    /// Whether its effect has a moment of its own, later than the hit.
    fn reaches_later(&self) -> bool {
        self.actions().iter().any(|action| {
            matches!(
                action,
                Action::Hold
                    | Action::HoldAfter(_)
                    | Action::StallAfter(..)
                    | Action::ResetAfter(_)
                    | Action::FinAfter(_)
            )
        })
    }

    /// Counts the match and says whether it is one of those to hit.
    fn strikes(&self) -> bool {
        let nth = self.matched.fetch_add(1, Ordering::SeqCst) + 1;
        let due = nth >= self.rule.nth_from && self.rule.nth_to.is_none_or(|last| nth <= last);
        let lucky = self.rule.chance.is_none_or(|(chance, seed)| {
            // 32 bits are plenty for a probability and fit an f64 exactly
            let drawn = u32::try_from(mix(seed.wrapping_add(nth)) >> 32).unwrap_or(0);
            f64::from(drawn) < chance * f64::from(u32::MAX)
        });
        if due && lucky {
            self.hits.fetch_add(1, Ordering::SeqCst);
            if !self.reaches_later() {
                self.reach();
            }
        }
        due && lucky
    }
}

/// All rules in force, oldest first.
#[derive(Debug, Default)]
pub(super) struct Faults {
    rules: Mutex<Vec<Arc<Fault>>>,
    next: AtomicU64,
}

impl Faults {
    pub(super) fn add(&self, rule: Rule) -> FaultHandle {
        let fault = Arc::new(Fault {
            id: self.next.fetch_add(1, Ordering::SeqCst) + 1,
            rule,
            matched: AtomicU64::new(0),
            hits: AtomicUsize::new(0),
            removed: AtomicBool::new(false),
            reached: watch::Sender::new(0),
            released: watch::Sender::new(false),
        });
        let mut rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        rules.push(Arc::clone(&fault));
        FaultHandle(fault)
    }

    pub(super) fn clear(&self) {
        for handle in self.all() {
            handle.remove();
        }
        let mut rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        rules.clear();
    }

    /// Rules that were not removed.
    pub(super) fn all(&self) -> Vec<FaultHandle> {
        let mut rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        rules.retain(|fault| !fault.removed.load(Ordering::SeqCst));
        rules.iter().cloned().map(FaultHandle).collect()
    }

    pub(super) fn of_request(&self, subject: &Subject<'_>) -> Option<Arc<Fault>> {
        let mut faults = self.all().into_iter().map(|handle| handle.0);
        faults.find(|f| !f.of_connections() && f.rule.matches(subject) && f.strikes())
    }

    /// `open` counts the connections of the listener, the new one included.
    pub(super) fn of_connection(&self, listener: Listener, open: u64) -> Option<Arc<Fault>> {
        let mut faults = self.all().into_iter().map(|handle| handle.0);
        faults.find(|f| {
            let here = f.rule.listener.is_none_or(|wanted| wanted == listener);
            f.of_connections() && here && !f.below_limit(open) && f.strikes()
        })
    }
}

impl Fault {
    fn below_limit(&self, open: u64) -> bool {
        let mut actions = self.actions().iter();
        actions.any(|action| matches!(action, Action::ConnectionLimit(limit) if open <= *limit))
    }
}

impl Rule {
    fn matches(&self, subject: &Subject<'_>) -> bool {
        let incoming = subject.incoming;
        let same = |wanted: &Option<String>, got: Option<&str>| wanted.is_none() || wanted.as_deref() == got;
        let like = |wanted: &Option<String>, got: &str| wanted.as_ref().is_none_or(|pattern| glob(pattern, got));
        self.listener.is_none_or(|l| l == subject.listener)
            && same(&self.method, Some(&incoming.method))
            && like(&self.path, &incoming.target)
            && like(&self.host, &incoming.host())
            && same(&self.digest, subject.digest)
            && same(&self.action, subject.action)
            && (self.header.iter()).all(|name| incoming.header(name).is_some())
    }
}

/// `*` stands for any text; a pattern without it is found anywhere.
pub(super) fn glob(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else {
        return text.contains(pattern);
    };
    let Some(mut text) = text.strip_prefix(first) else {
        return false;
    };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let last = parts.pop().unwrap_or("");
    for part in parts {
        let Some(at) = text.find(part) else {
            return false;
        };
        text = &text[at + part.len()..];
    }
    text.ends_with(last)
}

/// Milliseconds of a duration, for the actions that carry them.
pub(super) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
