//! What all connections of one fake share. There is one per fake and nothing global.
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::clock::Clock;
use super::fault::Faults;
use super::knob::{Knob, Knobs};
use super::listener::Command;
use super::log::Log;
use super::oidc::SignIns;
use super::session::Sessions;
use super::store::Store;

/// Everything behind the listeners.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) clock: Clock,
    pub(super) log: Log,
    pub(super) faults: Faults,
    pub(super) knobs: Knobs,
    pub(super) link: Link,
    pub(super) ca_pem: String,
    /// The AWS API over TLS, where the proxy's tunnels lead.
    pub(super) tunnels_end: OnceLock<SocketAddr>,
    pub(super) sessions: Sessions,
    pub(super) sign_ins: SignIns,
    pub(super) connections: AtomicU64,
    pub(super) token_serial: AtomicU64,
    pub(super) tokens_expired_through: AtomicU64,
    pub(super) url_serial: AtomicU64,
    pub(super) urls_expired_through: AtomicU64,
    store: Mutex<Store>,
    buckets: Mutex<BTreeMap<String, (f64, Duration)>>,
    serials: AtomicU64,
    pub(super) ports: Mutex<Vec<mpsc::UnboundedSender<Command>>>,
}

impl State {
    pub(super) fn new(ca_pem: String) -> Self {
        Self { ca_pem, ..Self::default() }
    }

    pub(super) fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set(&self, knob: Knob) {
        if let Knob::ExpireSession(access_key) = &knob {
            self.sessions.expire(access_key);
        }
        self.knobs.set(knob);
    }

    /// A number that no one else gets.
    pub(super) fn serial(&self) -> u64 {
        self.serials.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// Takes one call out of the action's bucket; true when it is empty. Refills by the virtual clock.
    pub(super) fn over_rate(&self, action: &str) -> bool {
        let Some(rate) = self.knobs.lock(|knobs| knobs.rates.get(action).copied()) else {
            return false;
        };
        let now = self.clock.now();
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let most = rate.max(1.0);
        let (level, since) = buckets.entry(action.to_owned()).or_insert((most, now));
        *level = most.min(*level + rate * now.saturating_sub(*since).as_secs_f64());
        *since = now;
        if *level < 1.0 {
            return true;
        }
        *level -= 1.0;
        false
    }

    /// Stops or resumes every listener but control, and returns when that holds.
    pub(super) async fn partition(&self, on: bool) {
        let ports = self.ports.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for port in ports {
            let (done, holds) = oneshot::channel();
            let command = if on { Command::Stop(done) } else { Command::Resume(done) };
            if port.send(command).is_ok() {
                let _ = holds.await;
            }
        }
    }
}

/// A line that all S3 answers share when its rate is limited.
#[derive(Debug, Default)]
pub(super) struct Link(Mutex<Option<Instant>>);

impl Link {
    /// Books the line for `time` and says when that is over.
    pub(super) fn reserve(&self, time: Duration) -> Instant {
        let mut free = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let end = free.map_or(now, |free| free.max(now)) + time;
        *free = Some(end);
        end
    }
}
