//! What is on disk for a token: the token, a failure of a moment ago, or nothing.
//!
//! The whole warm way of the helper: one small file, no network, no runtime, no AWS.

use std::time::SystemTime;

use tracing::warn;

use super::{Demand, Error, Wanted, former, notes, notes::About};
use crate::{
    chain::chain,
    ecr::AuthorizationToken,
    oci::Registry,
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
pub fn forget(tokens: &TokenStore, registry: &Registry, wanted: &Wanted) -> Result<(), TokenStoreError> {
    let key = wanted.key();
    notes::forget_login(tokens, registry.as_str());
    notes::forget(tokens, &key);
    notes::forget_session(tokens, wanted);
    if former::is_there() {
        notes::forget_former(tokens, &key);
    }
    tokens.remove(&key)
}

/// Forgets everything that is on disk, and what Amazon's helper left as well.
pub fn forget_all(tokens: &TokenStore) -> Result<(), TokenStoreError> {
    tokens.clear()?;
    if former::is_there() {
        notes::forget_every_former(tokens);
    }
    Ok(())
}

/// Forgets the failures of a token: a person wants another attempt.
pub fn forget_failures(tokens: &TokenStore, wanted: &Wanted) {
    notes::forget(tokens, &wanted.key());
    notes::forget_no_metadata(tokens);
}

/// Forgets the failures of all tokens.
pub fn forget_all_failures(tokens: &TokenStore) -> Result<(), TokenStoreError> {
    for (key, entry) in tokens.list()? {
        if matches!(About::of(&entry), Some(About::Failure(_) | About::Postponed | About::NoMetadata)) {
            tokens.remove(&key)?;
        }
    }
    Ok(())
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
    if let Some(token) = usable(tokens, key, &Demand::Usual)? {
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

/// The token on disk if it may be handed out and will do.
pub(super) fn usable(
    tokens: &TokenStore,
    key: &TokenKey,
    demand: &Demand,
) -> Result<Option<AuthorizationToken>, TokenStoreError> {
    let entry = match tokens.get(key) {
        Ok(entry) => entry,
        Err(error @ (TokenStoreError::Io { .. } | TokenStoreError::Folder { .. })) => {
            // a store that cannot be read is one more reason to mint, not a reason to fail
            warn!(error = chain(&error), "the token store cannot be read");
            None
        }
        Err(error) => return Err(error),
    };
    let token = entry.map(notes::token_of);
    let is_good = |token: &AuthorizationToken| {
        demand.takes(token) && token.is_usable(SystemTime::now()) && token.user_and_password().is_some()
    };
    Ok(token.filter(is_good))
}
