//! Access keys as they stand: in the environment and in profiles.
//!
//! Old names are taken where the new one is not set.

use aws_credential_types::Credentials;

use super::{failure::MintError, profiles::Profile, variable::variable};

const ID: &str = "AWS_ACCESS_KEY_ID";
const OLD_ID: &str = "AWS_ACCESS_KEY";
const SECRETS: [&str; 2] = ["AWS_SECRET_ACCESS_KEY", "AWS_SECRET_KEY"];

fn secret(variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    SECRETS.into_iter().find_map(variable)
}

/// The variable with the id, and the id; the old name counts only beside a secret, since other programs use it as well.
fn id(variable: impl Fn(&str) -> Option<String>) -> Option<(&'static str, String)> {
    let old = || secret(&variable).and_then(|_| Some((OLD_ID, variable(OLD_ID)?)));
    variable(ID).map(|id| (ID, id)).or_else(old)
}

/// The id of the access key among the variables that are set to something.
pub fn key_among(variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    id(variable).map(|(_, id)| id)
}

/// The id of the access key in the environment.
#[must_use]
pub fn key_in_environment() -> Option<String> {
    key_among(variable)
}

/// The name of the variable with an id, and the id; whether a secret stands beside it.
pub(super) fn seen_in_environment() -> Option<(&'static str, String, bool)> {
    id(variable).map(|(name, id)| (name, id, secret(variable).is_some()))
}

/// The access key in the environment.
pub(super) fn in_environment() -> Result<Option<Credentials>, MintError> {
    let Some((name, id)) = id(variable) else { return Ok(None) };
    let Some(secret) = secret(variable) else {
        let cause = format!("{name} is set and AWS_SECRET_ACCESS_KEY is not");
        return Err(MintError::credentials(cause, "set both (and AWS_SESSION_TOKEN for a session), or unset both"));
    };
    let token = variable("AWS_SESSION_TOKEN");
    Ok(Some(Credentials::new(id.trim(), secret.trim(), token, None, "environment")))
}

/// The access key of a profile.
pub(super) fn in_profile(name: &str, profile: &Profile) -> Result<Option<Credentials>, MintError> {
    let get = |key: &str| profile.get(key).filter(|value| !value.is_empty());
    match (get("aws_access_key_id"), get("aws_secret_access_key")) {
        (Some(id), Some(secret)) => {
            let token = get("aws_session_token").cloned();
            Ok(Some(Credentials::new(id, secret, token, None, "profile")))
        }
        (None, None) => Ok(None),
        _ => {
            let remedy = format!("write both again with: aws configure --profile {name}");
            Err(MintError::credentials(format!("profile {name:?} has one half of an access key"), remedy))
        }
    }
}

/// Enough of an access key's id to tell it from another.
pub(super) fn abbreviated(id: &str) -> String {
    let count = id.chars().count();
    if count < 10 || !id.is_ascii() {
        return "…".to_owned();
    }
    format!("{}…{}", &id[..4], &id[count - 4..])
}

#[test]
fn ids_of_keys_are_shown_in_part() {
    assert_eq!(abbreviated("AKIAIOSFODNN7EXAMPLE"), "AKIA…MPLE");
    assert_eq!(abbreviated("short"), "…");
    assert_eq!(abbreviated("ééééééééééééé"), "…");
}
