//! Sessions: temporary credentials, whichever service gave them out.
//!
//! Each has an access key id of its own, and its secret and session token are checked on every call.
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::State;
use super::knob::Knob;

/// Temporary credentials.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) access_key: String,
    pub(super) secret: String,
    pub(super) token: String,
    /// By the virtual clock, as told to the client; only a knob makes it come true.
    pub(super) expires: Duration,
    /// Opened with a device's code, which satisfies every later demand for one.
    pub(super) mfa: bool,
    expired: bool,
}

/// All sessions by access key id.
#[derive(Debug, Default)]
pub(super) struct Sessions(Mutex<BTreeMap<String, Session>>);

/// What is wrong with the credentials of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    /// The session is over.
    Expired,
    /// The session token is not the one that belongs to the key.
    Token,
}

impl Sessions {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Session>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new session that acts as `principal` and is told to last for `life`.
    pub(super) fn open(state: &State, principal: &str, life: Duration, mfa: bool) -> Session {
        let number = state.serial();
        let access_key = format!("ASIAFAKE{number:012}");
        let session = Session {
            secret: format!("secret-of-session-{number}"),
            token: format!("token-of-session-{number}"),
            expires: state.clock.now() + life,
            mfa,
            expired: false,
            access_key: access_key.clone(),
        };
        state.knobs.set(Knob::Principal(access_key.clone(), principal.to_owned()));
        state.knobs.set(Knob::VerifySignature(access_key.clone(), session.secret.clone()));
        state.sessions.lock().insert(access_key, session.clone());
        session
    }

    pub(super) fn of(&self, access_key: &str) -> Option<Session> {
        self.lock().get(access_key).cloned()
    }

    /// What keeps the session from being used with this token; `None` for keys that are no session's.
    pub(super) fn flaw(&self, access_key: &str, token: Option<&str>) -> Option<Flaw> {
        let session = self.of(access_key)?;
        match (session.expired, token == Some(session.token.as_str())) {
            (true, _) => Some(Flaw::Expired),
            (false, false) => Some(Flaw::Token),
            (false, true) => None,
        }
    }

    pub(super) fn expire(&self, access_key: &str) {
        if let Some(session) = self.lock().get_mut(access_key) {
            session.expired = true;
        }
    }

    pub(super) fn expire_all(&self) {
        self.lock().values_mut().for_each(|session| session.expired = true);
    }
}
