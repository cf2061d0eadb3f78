//! The sign-in service of `aws login`: new credentials for a refresh token.
//!
//! The proof of possession must be there, its signature is not checked.
use serde_json::{Value, json};

use super::State;
use super::api::DEFAULT_PRINCIPAL;
use super::failure::message_of;
use super::http::{Answer, Incoming};
use super::session::Sessions;

/// Codes such as `TOKEN_EXPIRED` come within an `AccessDeniedException`, names of exceptions as they are.
pub(super) fn refused(code: &str) -> Answer {
    let (status, kind) = match code {
        "InternalServerException" => (500, code),
        "TooManyRequestsError" => (429, code),
        "ValidationException" => (400, code),
        "AccessDeniedException" => (401, code),
        _ => (401, "AccessDeniedException"),
    };
    Answer::new(status)
        .with("Content-Type", "application/json")
        .with("x-amzn-ErrorType", kind)
        .body(json!({"error": code, "message": message_of(code)}).to_string())
}

pub(super) fn answer(state: &State, incoming: &Incoming) -> Answer {
    let body: Value = serde_json::from_slice(&incoming.body).unwrap_or_default();
    let has = |name: &str| body[name].as_str().is_some_and(|text| !text.is_empty());
    let proven = incoming.header("dpop").is_some_and(|proof| proof.split('.').count() == 3);
    if !proven || !has("clientId") || !has("grantType") || !(has("refreshToken") || has("code")) {
        return refused("ValidationException");
    }
    let life = state.knobs.lock(|knobs| knobs.aws.session_life);
    let session = Sessions::open(state, DEFAULT_PRINCIPAL, life, false);
    let body = json!({
        "accessToken": {
            "accessKeyId": session.access_key,
            "secretAccessKey": session.secret,
            "sessionToken": session.token,
        },
        "tokenType": "aws_sigv4",
        "expiresIn": life.as_secs(),
        "refreshToken": format!("login-refresh-token-{}", state.serial()),
    });
    Answer::new(200).with("Content-Type", "application/json").body(body.to_string())
}
