//! [`Record`]: an entry as it lies in its file.
//!
//! Times are whole seconds since 1970. Only the token may be sealed; what else is known about it never is.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::Entry;
use crate::secret::Secret;

/// Another number is another layout, whose entries are none.
const VERSION: u32 = 2;

/// Far away, and far from where calculating with a time goes out of range, which would be a panic.
const LATEST: u64 = 1 << 40;
/// What AWS tolerates between two clocks; a home may be shared by two machines.
const CLOCKS_DIFFER: Duration = Duration::from_mins(5);
/// The base64 of a tag and nothing before it.
const SEALED_NOTHING: usize = 24;

#[derive(Serialize, Deserialize)]
pub(super) struct Record {
    version: u32,
    minted_at: u64,
    refresh_at: u64,
    expires_at: u64,
    about: String,
    /// The token in the clear.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) token: Option<Zeroizing<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) sealed: Option<Sealed>,
}

/// How a token is kept in a record.
pub(super) enum Token {
    Plain(Secret),
    Sealed(Sealed),
}

/// A token under a key. Bytes are base64.
#[derive(Serialize, Deserialize)]
pub(super) struct Sealed {
    /// Which key of the keyring; empty for that of the key file.
    pub(super) key: String,
    pub(super) nonce: String,
    pub(super) text: String,
}

impl Record {
    pub(super) fn new(entry: &Entry, token: Token) -> Self {
        let seconds = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let (token, sealed) = match token {
            Token::Plain(secret) => (Some(Zeroizing::new(secret.expose().to_owned())), None),
            Token::Sealed(sealed) => (None, Some(sealed)),
        };
        Self {
            version: VERSION,
            minted_at: seconds(entry.minted_at),
            refresh_at: seconds(entry.refresh_at),
            expires_at: seconds(entry.expires_at),
            about: entry.about.clone(),
            token,
            sealed,
        }
    }

    /// The record in `text`; `None` when it is of another version or garbage.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        serde_json::from_slice::<Self>(text).ok().filter(|record| record.version == VERSION)
    }

    pub(super) fn text(&self) -> serde_json::Result<Zeroizing<Vec<u8>>> {
        serde_json::to_vec(self).map(Zeroizing::new)
    }

    /// Whether there is a secret in it at all; needs no key.
    pub(super) fn has_secret(&self) -> bool {
        let is_sealed = |sealed: &Sealed| sealed.text.len() > SEALED_NOTHING;
        self.token.as_ref().is_some_and(|token| !token.is_empty()) || self.sealed.as_ref().is_some_and(is_sealed)
    }

    /// The entry with `secret`; `None` when a time is out of range, or the clock was put back since it was minted: how old it
    /// is nobody knows then.
    pub(super) fn entry(self, secret: Secret, now: SystemTime) -> Option<Entry> {
        let [minted_at, refresh_at, expires_at] =
            [time(self.minted_at)?, time(self.refresh_at)?, time(self.expires_at)?];
        let is_of_the_future = minted_at.duration_since(now).is_ok_and(|ahead| ahead > CLOCKS_DIFFER);
        (!is_of_the_future).then_some(Entry { secret, minted_at, refresh_at, expires_at, about: self.about })
    }

    /// The entry without its secret.
    pub(super) fn into_bare_entry(self, now: SystemTime) -> Option<Entry> {
        self.entry(Secret::new(String::new()), now)
    }
}

fn time(seconds: u64) -> Option<SystemTime> {
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).filter(|_| seconds <= LATEST)
}
