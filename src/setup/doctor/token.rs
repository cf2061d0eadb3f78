//! The authorization tokens: at hand, or to be had.
//!
//! A token that is minted here is kept: the next pull finds it.

use std::{sync::Arc, time::SystemTime};

use tokio::task::spawn_blocking;

use super::{
    MOST, beside,
    finding::{Check, Finding, Subject, check},
    surroundings::{Asked, Surroundings},
};
use crate::{
    chain::chain,
    credentials::{AtHand, Credentials, Demand, Error, Wanted, Way, at_hand, forget_failures},
    ecr::{AuthorizationToken, words},
    oci::Registry,
};

pub(super) async fn look(around: &Surroundings, is_offline: bool) -> Vec<Finding> {
    let mut findings: Vec<_> = around.registries.iter().filter_map(without_token).collect();
    let credentials = Credentials::new(Arc::new(around.config.clone()), around.tokens());
    let wanted = around.wanted();
    let left = wanted.len().saturating_sub(MOST);
    let tried = wanted.into_iter().take(MOST).map(|(registry, wanted)| {
        let credentials = &credentials;
        async move { token(around, credentials, registry, wanted, is_offline).await }
    });
    findings.extend(beside(tried).await);
    if left > 0 {
        let check = check("token", Subject::Token, "other tokens");
        findings.push(check.skipped(format!("{left} more; longshore doctor HOST looks at one")));
    }
    findings
}

/// What there is to say of a registry that needs no token.
fn without_token(asked: &Asked) -> Option<Finding> {
    let check = check("token", Subject::Token, format!("token for {}", asked.registry));
    match asked.way {
        Way::Token(_) => None,
        Way::Anonymous => Some(check.skipped("none, by the configuration: anonymous = true")),
        Way::Foreign => Some(check.skipped("none: this is not a registry of ECR")),
    }
}

async fn token(
    around: &Surroundings,
    credentials: &Credentials,
    registry: &Registry,
    wanted: &Wanted,
    is_offline: bool,
) -> Finding {
    let check = check("token", Subject::Token, format!("token for {wanted}, as {}", wanted.identity));
    let (tokens, looked_for) = (around.tokens(), wanted.clone());
    let looked = spawn_blocking(move || {
        let found = at_hand(&tokens, &looked_for);
        if !is_offline && matches!(found, Ok(AtHand::Failure(_))) {
            forget_failures(&tokens, &looked_for);
        }
        found
    });
    match looked.await {
        Ok(Ok(AtHand::Token(token))) => return check.ok(times("at hand", &token)),
        Ok(Ok(AtHand::Failure(error))) if is_offline => return failed(check, wanted, &error),
        Ok(Err(error)) => return check.problem(chain(&error), "mend the token store as said above"),
        _ if is_offline => return check.skipped("none at hand, and --offline asks for none"),
        _ => {}
    }
    match credentials.token(wanted.clone(), Some(registry), Demand::Usual).await {
        Ok(token) => check.ok(times("minted just now", &token)),
        Err(error) => failed(check, wanted, &error),
    }
}

fn failed(check: Check, wanted: &Wanted, error: &Error) -> Finding {
    if wanted.scope.public && error.is_bare() {
        return check.skipped("no AWS credentials: pulls are anonymous, one a second at most");
    }
    check.problem(chain(error), error.remedy())
}

fn times(how: &str, token: &AuthorizationToken) -> String {
    let now = SystemTime::now();
    let age = words(now.duration_since(token.minted_at).unwrap_or_default());
    let left = words(token.expires_at.duration_since(now).unwrap_or_default());
    let fresh = token.refresh_at.duration_since(now).map(|time| format!(", fresh for {}", words(time)));
    format!("{how}: {age} old{}, good for {left}", fresh.unwrap_or_else(|_| ", to be renewed".to_owned()))
}
