//! The edge's one way to `credentials`: a token that is at hand, one that is minted, one that is dropped.
//!
//! Only [`mint`] sets up a runtime, TLS and AWS code. A program that does not name it has none of them linked.

use std::{path::PathBuf, sync::Arc};

use serde_json::{Map, Value};

use super::answer::Answer;
use crate::{
    config::{Config, TokenProtection},
    credentials::{Credentials, Selection},
    ecr::{AuthorizationToken, EcrRegistry, TokenScope},
    environment,
    oci::server_host,
    store::{TokenStore, TokenStoreError},
};

/// Below a device there are no folders: such a store gives nothing and keeps nothing.
const NOWHERE: &str = "/dev/null";

/// What a token is wanted for, and the credentials that have it or mint it.
#[derive(Debug)]
pub struct Wanted {
    credentials: Credentials,
    pub(super) selection: Selection,
    scope: TokenScope,
    is_kept: bool,
}

impl Wanted {
    /// A token for `registry`, with the rights of `selection`.
    pub(super) fn new(config: Config, selection: &Selection, registry: EcrRegistry) -> Self {
        let is_kept = environment::token_protection(&config) != TokenProtection::Memory;
        let dir = if is_kept { environment::token_dir(&config) } else { PathBuf::from(NOWHERE) };
        let credentials = Credentials::new(Arc::new(config), TokenStore::new(&dir)).with(selection.clone());
        Self { credentials, selection: selection.clone(), scope: registry.scope, is_kept }
    }

    /// The token at hand: no network, no AWS.
    pub(super) fn cached(&self) -> Result<Option<AuthorizationToken>, TokenStoreError> {
        if self.is_kept { self.credentials.cached(&self.scope) } else { Ok(None) }
    }

    /// Drops the token at hand.
    pub(super) fn forget(&self) -> Result<(), TokenStoreError> {
        if self.is_kept { self.credentials.forget(&self.scope) } else { Ok(()) }
    }
}

/// The registries that tokens are at hand for, and the user name, as `list` has it.
///
/// Tokens belong to identities and regions, and no entry says for which registries it was asked for: there are none.
pub(super) fn listed() -> Map<String, Value> {
    Map::new()
}

/// The cold way: a token is minted in this process, and the answer to a `get` of `server` is made of it.
#[must_use]
pub fn mint(server: &str, wanted: &Wanted) -> Answer {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Answer::error(&error, "the system gives this process no threads or file descriptors"),
    };
    let minted = runtime.block_on(wanted.credentials.token(&wanted.scope, None));
    // a thread that waits for another process's lock must not hold this one back
    runtime.shutdown_background();
    match minted {
        Ok(token) => found(server, &token),
        // anonymous pulls work at ECR Public, so no credentials is no failure there
        Err(error) if wanted.scope.public => {
            Answer::not_found().saying(&format!("{error}; {} is used anonymously", server_host(server)))
        }
        Err(error) => Answer::error(&*error, error.remedy()),
    }
}

/// The answer to a `get` of `server`.
pub(super) fn found(server: &str, token: &AuthorizationToken) -> Answer {
    let Some((user, password)) = token.user_and_password() else {
        return Answer::refused("the authorization token is not base64 of user:password");
    };
    let answer = serde_json::json!({ "ServerURL": server.trim(), "Username": user, "Secret": password.expose() });
    Answer::done(answer.to_string())
}
