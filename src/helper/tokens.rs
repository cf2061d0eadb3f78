//! The edge's one way to `credentials`: a token that is at hand, one that is minted, one that is dropped, all there are.
//!
//! Only [`mint`] sets up a runtime, TLS and AWS code. A program that does not name it has none of them linked.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::answer::Answer;
use crate::{
    chain::chain,
    config::Config,
    credentials::{self, AtHand, Credentials, Demand, Error, Selection, Wanted, Way, token_store},
    ecr::AuthorizationToken,
    oci::{Registry, server_host},
    secret::Secret,
    store::TokenStoreError,
};

/// The user name of every token.
const USER: &str = "AWS";

/// A token that is looked for: for which registry, with whose rights, and where it is kept.
#[derive(Debug)]
pub struct Sought {
    config: Config,
    pub(super) selection: Selection,
    registry: Registry,
    wanted: Wanted,
}

impl Sought {
    pub(super) fn new(config: Config, selection: Selection, registry: Registry, wanted: Wanted) -> Self {
        Self { config, selection, registry, wanted }
    }

    /// What is at hand: no network, no AWS.
    pub(super) fn at_hand(&self) -> Result<AtHand, TokenStoreError> {
        credentials::at_hand(&token_store(&self.config), &self.wanted)
    }

    /// Drops what is at hand, and that somebody logged in.
    pub(super) fn forget(&self) -> Result<(), TokenStoreError> {
        credentials::forget(&token_store(&self.config), &self.registry, &self.wanted)
    }

    /// The answer to a `get` of `server` when none can be minted: what somebody logged in with, or why there is none.
    pub(super) fn no_token(&self, server: &str, error: &Error) -> Answer {
        if let Some(token) = credentials::login_token(&token_store(&self.config), self.registry.as_str()) {
            return found(server, &token);
        }
        // anonymous pulls work at ECR Public, so no credentials is no failure there
        if self.wanted.scope.public {
            return Answer::not_found().saying(&format!("{error}; {} is used anonymously", server_host(server)));
        }
        Answer::error(error, error.remedy())
    }
}

/// Keeps in mind that somebody logged in to `registry`: what `docker build` is not told of, it does not ask for.
/// The token is kept for where none can be minted, as in a build that logs in with rights its later steps lack.
pub(super) fn remember_login(config: &Config, registry: &Registry, user: &str, password: &Secret) {
    let token = if user == USER { AuthorizationToken::of_login(password) } else { None };
    credentials::remember_login(&token_store(config), registry.as_str(), token);
}

/// The registries whose token is at hand with the rights of `selection` or that somebody logged in to, and the user name,
/// as `list` has it.
pub(super) fn listed(config: &Config, selection: &Selection) -> Result<Map<String, Value>, TokenStoreError> {
    let tokens = token_store(config);
    let kept = credentials::kept(&tokens)?;
    let logins = credentials::logins(&tokens)?.into_iter().filter_map(|name| {
        let registry: Registry = name.parse().ok()?;
        let way = credentials::way(config, &registry, selection);
        matches!(way, Way::Token(_)).then(|| format!("https://{registry}"))
    });
    let names = kept.into_iter().filter_map(|kept| {
        let registry: Registry = kept.registry?.parse().ok()?;
        // what another profile or an earlier configuration left is not what a `get` would find
        match credentials::way(config, &registry, selection) {
            Way::Token(wanted) if wanted.key() == kept.key => Some(format!("https://{registry}")),
            _ => None,
        }
    });
    Ok(names.chain(logins).map(|name| (name, Value::from(USER))).collect())
}

/// The cold way: a token is minted in this process, and the answer to a `get` of `server` is made of it.
#[must_use]
pub fn mint(server: &str, sought: &Sought) -> Answer {
    let credentials = Credentials::new(Arc::new(sought.config.clone()), token_store(&sought.config)).interactive();
    let work = credentials.token(sought.wanted.clone(), Some(&sought.registry), Demand::Usual);
    match credentials::run_to_end(work) {
        Err(error) => Answer::error(&error, credentials::NO_RUNTIME),
        Ok(Err(error)) => sought.no_token(server, &error),
        // said once, by who mints: nothing of the folder is used, so the token is good
        Ok(Ok(token)) => match token_store(&sought.config).trouble() {
            Some(trouble) => found(server, &token).saying(&chain(&trouble)),
            None => found(server, &token),
        },
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
