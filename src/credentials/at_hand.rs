//! What is on disk for a token: the token, a failure of a moment ago, or nothing.
//!
//! The whole warm way of the helper: one small file, no network, no runtime, no AWS.

use std::time::SystemTime;

use tracing::warn;

use super::{About, Error, Wanted, notes};
use crate::{
    chain::chain,
    ecr::AuthorizationToken,
    secret::Secret,
    store::{Entry, TokenKey, TokenStore, TokenStoreError},
};

/// What is on disk for a token.
#[derive(Debug)]
pub enum AtHand {
    /// A token to hand out: it is fresh, or somebody else sees to a newer one.
    Token(AuthorizationToken),
    /// The last attempt failed a moment ago.
    Failure(Error),
    /// Nothing, or a token that is to be renewed first.
    Nothing,
}

/// Looks on disk for the token that is wanted.
pub fn at_hand(tokens: &TokenStore, wanted: &Wanted) -> Result<AtHand, TokenStoreError> {
    let key = wanted.key();
    look(tokens, &key, wanted)
}

/// Forgets the token on disk, what led to it, and its failures.
pub fn forget(tokens: &TokenStore, wanted: &Wanted) -> Result<(), TokenStoreError> {
    let key = wanted.key();
    notes::forget(tokens, &key);
    notes::forget_session(tokens, wanted);
    tokens.remove(&key)
}

/// Forgets only the failures: a person asks for another attempt, and a token that is still good stays.
pub fn try_again(tokens: &TokenStore, wanted: &Wanted) {
    notes::forget(tokens, &wanted.key());
}

/// A token on disk: what it is, and its times.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Its name in the store.
    pub key: TokenKey,
    /// Whose, and for what.
    pub wanted: Wanted,
    /// The registry it was first asked for.
    pub registry: Option<String>,
    /// Its times; the token itself is left out.
    pub entry: Entry,
}

/// The tokens that are on disk and not over.
pub fn kept(tokens: &TokenStore) -> Result<Vec<Kept>, TokenStoreError> {
    let entries = tokens.list()?.into_iter().filter_map(|(key, entry)| match About::of(&entry)? {
        About::Token { wanted, registry } => Some(Kept { key, wanted: *wanted, registry, entry }),
        _ => None,
    });
    Ok(entries.collect())
}

pub(super) fn look(tokens: &TokenStore, key: &TokenKey, wanted: &Wanted) -> Result<AtHand, TokenStoreError> {
    let now = SystemTime::now();
    if let Some(token) = usable(tokens, key, None)? {
        // in the last half of its life a token is renewed before it is handed out, unless somebody else sees to that
        if token.is_fresh(now) || tokens.is_kept(key) || notes::is_postponed(tokens, key) {
            return Ok(AtHand::Token(token));
        }
        return Ok(AtHand::Nothing);
    }
    Ok(match notes::failure(tokens, key) {
        Some((failure, wait)) => AtHand::Failure(Error::remembered(wanted, failure, wait)),
        None => AtHand::Nothing,
    })
}

/// The token on disk if it may be handed out and is not `stale`.
pub(super) fn usable(
    tokens: &TokenStore,
    key: &TokenKey,
    stale: Option<&Secret>,
) -> Result<Option<AuthorizationToken>, TokenStoreError> {
    let entry = match tokens.get(key) {
        Ok(entry) => entry,
        Err(error @ TokenStoreError::Io { .. }) => {
            // a store that cannot be read is one more reason to mint, not a reason to fail
            warn!(error = chain(&error), "the token store cannot be read");
            None
        }
        Err(error) => return Err(error),
    };
    let token = entry.map(|entry| AuthorizationToken {
        basic: entry.secret,
        minted_at: entry.minted_at,
        refresh_at: entry.refresh_at,
        expires_at: entry.expires_at,
    });
    let is_good = |token: &AuthorizationToken| {
        stale != Some(&token.basic) && token.is_usable(SystemTime::now()) && token.user_and_password().is_some()
    };
    Ok(token.filter(is_good))
}
