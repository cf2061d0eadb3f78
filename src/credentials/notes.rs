//! What is remembered between processes beside tokens: failures that would only repeat themselves, spent one-time codes,
//! logins, and that there is no metadata service.
//!
//! Kept in the token store, under keys and with the protection of tokens. A failure is remembered for seconds: for want of
//! an answer, or where the configuration, which is part of the key, would have to change to mend it.

use std::{
    fs::File,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};
use tracing::debug;

use super::{Wanted, person::PERSON, wanted::boot};
use crate::{
    chain::chain,
    ecr::{AuthorizationToken, Session, is_ec2},
    secret::Secret,
    store::{Entry, TokenKey, TokenStore, TokenStoreError},
};

/// How long a failure is not tried again.
const FAILURE: Duration = Duration::from_secs(30);
/// How long a token that could not be renewed is handed out without trying again.
const POSTPONED: Duration = Duration::from_mins(5);
/// How long a login is known that is not repeated.
const LOGIN: Duration = Duration::from_hours(24 * 365);
/// Stands for every token.
const EVERY: &str = "every";
/// No token that Amazon's helper left behind lives longer.
const NO_FORMER: Duration = Duration::from_hours(13);
/// How long it is believed that nobody answers at the metadata service; the key changes with the next start.
const NO_METADATA: Duration = Duration::from_hours(24 * 365);
/// The same on an EC2 instance, where somebody should, and where the system does not tell one start from the next.
const NO_METADATA_FOR_NOW: Duration = Duration::from_mins(10);

/// The variables that decide how AWS is reached.
const WAY: [&str; 6] = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "NO_PROXY", "no_proxy", "AWS_CA_BUNDLE"];

/// What an entry of the store is, as it is written beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum About {
    /// An authorization token.
    Token {
        /// Whose, and for what.
        wanted: Box<Wanted>,
        /// The registry it was first asked for.
        registry: Option<String>,
    },
    /// Credentials that a one-time code was spent on.
    Session {
        /// For which role and device.
        what: String,
    },
    /// A failure.
    Failure(Failure),
    /// A renewal that failed.
    Postponed,
    /// Nobody answers at the metadata service.
    NoMetadata,
    /// A person is being asked for a one-time code.
    Asking,
    /// What Amazon's helper left behind is not wanted.
    NoFormer,
    /// Somebody logged in to a registry, whose token is minted when it is asked for.
    Login {
        /// Which.
        registry: String,
    },
    /// The token that somebody logged in with.
    LoginToken,
}

/// A failure that is not tried again for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What went wrong.
    pub cause: String,
    /// What to do about it.
    pub remedy: String,
    /// Whether nothing in the chain has credentials.
    pub is_bare: bool,
}

impl About {
    pub(super) fn of(entry: &Entry) -> Option<Self> {
        serde_json::from_str(&entry.about).ok()
    }

    pub(super) fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// A token as it is kept.
    pub(super) fn entry(&self, token: &AuthorizationToken) -> Entry {
        Entry {
            secret: token.basic.clone(),
            minted_at: token.minted_at,
            refresh_at: token.refresh_at,
            expires_at: token.expires_at,
            about: self.text(),
        }
    }
}

/// The token that was kept.
pub(super) fn token_of(entry: Entry) -> AuthorizationToken {
    let Entry { secret: basic, minted_at, refresh_at, expires_at, .. } = entry;
    AuthorizationToken { basic, minted_at, refresh_at, expires_at }
}

fn put(tokens: &TokenStore, key: &TokenKey, about: &About, secret: Secret, expires_at: SystemTime) {
    let now = SystemTime::now();
    let entry = Entry { secret, minted_at: now, refresh_at: expires_at, expires_at, about: about.text() };
    if let Err(error) = tokens.put(key, &entry) {
        debug!(error = chain(&error), "not remembered");
    }
}

fn get(tokens: &TokenStore, key: &TokenKey) -> Option<(About, Entry)> {
    let entry = tokens.get(key).ok().flatten().filter(|entry| entry.expires_at > SystemTime::now())?;
    Some((About::of(&entry)?, entry))
}

fn key(what: &str, of: &str) -> TokenKey {
    TokenKey::new(&format!("{what}\n{of}"))
}

/// The failure that is remembered for a token, and for how long still.
pub(super) fn failure(tokens: &TokenStore, token: &TokenKey) -> Option<(Failure, Duration)> {
    match get(tokens, &failure_key(token))? {
        (About::Failure(failure), entry) => {
            Some((failure, entry.expires_at.duration_since(SystemTime::now()).unwrap_or_default()))
        }
        _ => None,
    }
}

pub(super) fn remember_failure(tokens: &TokenStore, token: &TokenKey, failure: Failure) {
    let until = SystemTime::now() + FAILURE;
    put(tokens, &failure_key(token), &About::Failure(failure), empty(), until);
}

/// Whoever corrects the way to AWS is heard at once.
fn failure_key(token: &TokenKey) -> TokenKey {
    let way = WAY.map(|name| std::env::var_os(name).unwrap_or_default());
    key("failure", &format!("{token}\n{way:?}"))
}

/// Whether the renewal of a token failed just now.
pub(super) fn is_postponed(tokens: &TokenStore, token: &TokenKey) -> bool {
    get(tokens, &key("postponed", token.as_str())).is_some()
}

pub(super) fn postpone(tokens: &TokenStore, token: &TokenKey) {
    put(tokens, &key("postponed", token.as_str()), &About::Postponed, empty(), SystemTime::now() + POSTPONED);
}

/// Forgets failures of a token: a person asks for another attempt.
pub(super) fn forget(tokens: &TokenStore, token: &TokenKey) {
    for note in [failure_key(token), key("postponed", token.as_str())] {
        if let Err(error) = tokens.remove(&note) {
            debug!(error = chain(&error), "not forgotten");
        }
    }
}

/// Whether a person asked to forget what Amazon's helper left behind.
pub(super) fn is_former_forgotten(tokens: &TokenStore, token: &TokenKey) -> bool {
    [token.as_str(), EVERY].into_iter().any(|which| get(tokens, &key("former", which)).is_some())
}

pub(super) fn forget_former(tokens: &TokenStore, token: &TokenKey) {
    put(tokens, &key("former", token.as_str()), &About::NoFormer, empty(), SystemTime::now() + NO_FORMER);
}

pub(super) fn forget_every_former(tokens: &TokenStore) {
    put(tokens, &key("former", EVERY), &About::NoFormer, empty(), SystemTime::now() + NO_FORMER);
}

/// Remembers that somebody logged in to a registry: clients that list before they get must find it.
pub fn remember_login(tokens: &TokenStore, registry: &str, token: Option<AuthorizationToken>) {
    let about = About::Login { registry: registry.to_owned() };
    put(tokens, &key("login", registry), &about, empty(), SystemTime::now() + LOGIN);
    if let Some(token) = token {
        put(tokens, &key("login token", registry), &About::LoginToken, token.basic, token.expires_at);
    }
}

/// The token that somebody logged in to a registry with, while it is good: for where none can be minted.
#[must_use]
pub fn login_token(tokens: &TokenStore, registry: &str) -> Option<AuthorizationToken> {
    let (About::LoginToken, entry) = get(tokens, &key("login token", registry))? else { return None };
    Some(token_of(entry)).filter(|token| token.is_usable(SystemTime::now()))
}

/// Forgets that somebody logged in to a registry.
pub(super) fn forget_login(tokens: &TokenStore, registry: &str) {
    for what in ["login", "login token"] {
        if let Err(error) = tokens.remove(&key(what, registry)) {
            debug!(error = chain(&error), "not forgotten");
        }
    }
}

/// The registries that somebody logged in to.
pub fn logins(tokens: &TokenStore) -> Result<Vec<String>, TokenStoreError> {
    let logins = tokens.list()?.into_iter().filter_map(|(_, entry)| match About::of(&entry)? {
        About::Login { registry } => Some(registry),
        _ => None,
    });
    Ok(logins.collect())
}

/// The session that a one-time code was spent on, for the identity of `wanted`.
pub(super) fn session(tokens: &TokenStore, wanted: &Wanted) -> Option<Session> {
    match get(tokens, &session_key(wanted))? {
        (About::Session { what }, entry) => Some(Session { what, secret: entry.secret, expires_at: entry.expires_at }),
        _ => None,
    }
}

pub(super) fn remember_session(tokens: &TokenStore, wanted: &Wanted, session: Session) {
    let about = About::Session { what: session.what };
    put(tokens, &session_key(wanted), &about, session.secret, session.expires_at);
}

pub(super) fn forget_session(tokens: &TokenStore, wanted: &Wanted) {
    if let Err(error) = tokens.remove(&session_key(wanted)) {
        debug!(error = chain(&error), "not forgotten");
    }
}

/// Held while a code is asked for and spent: one is enough for all regions.
pub(super) fn lock_session(tokens: &TokenStore, wanted: &Wanted) -> Result<File, TokenStoreError> {
    tokens.lock(&session_key(wanted))
}

/// Whether a person is being asked for a code of this identity's device.
pub(super) fn is_asking(tokens: &TokenStore, wanted: &Wanted) -> bool {
    get(tokens, &asking_key(wanted)).is_some()
}

pub(super) fn begin_asking(tokens: &TokenStore, wanted: &Wanted) {
    put(tokens, &asking_key(wanted), &About::Asking, empty(), SystemTime::now() + PERSON);
}

pub(super) fn end_asking(tokens: &TokenStore, wanted: &Wanted) {
    if let Err(error) = tokens.remove(&asking_key(wanted)) {
        debug!(error = chain(&error), "not forgotten");
    }
}

fn asking_key(wanted: &Wanted) -> TokenKey {
    key("asking", &wanted.describe_identity())
}

/// Sessions are good in every region: the identity is the key, without the scope.
fn session_key(wanted: &Wanted) -> TokenKey {
    key("session", &wanted.describe_identity())
}

/// Whether nobody answered at the metadata service since the machine was started.
pub(super) fn no_metadata(tokens: &TokenStore) -> bool {
    get(tokens, &no_metadata_key()).is_some()
}

pub(super) fn remember_no_metadata(tokens: &TokenStore) {
    let is_of_this_start = !boot().is_empty();
    let time = if is_ec2() || !is_of_this_start { NO_METADATA_FOR_NOW } else { NO_METADATA };
    put(tokens, &no_metadata_key(), &About::NoMetadata, empty(), SystemTime::now() + time);
}

/// Somebody may answer by now.
pub(super) fn forget_no_metadata(tokens: &TokenStore) {
    if let Err(error) = tokens.remove(&no_metadata_key()) {
        debug!(error = chain(&error), "not forgotten");
    }
}

fn no_metadata_key() -> TokenKey {
    let endpoint = ["AWS_EC2_METADATA_SERVICE_ENDPOINT", "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE"]
        .map(|name| std::env::var_os(name).unwrap_or_default());
    key("no metadata service", &format!("{endpoint:?}\n{}", boot()))
}

fn empty() -> Secret {
    Secret::new(String::new())
}
