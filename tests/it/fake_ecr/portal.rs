//! The access portal of IAM Identity Center: credentials of a role for a token of the sign-in.
//!
//! Every role of every account is there for every token that is known.
use serde_json::{Value, json};

use super::State;
use super::failure::{message_of, status_of};
use super::http::{Answer, Incoming};
use super::session::Sessions;

/// The header that carries the token.
pub(super) const BEARER: &str = "x-amz-sso_bearer_token";

pub(super) fn error(code: &str, message: &str) -> Answer {
    let kind = format!("com.amazonaws.switchboard.portal#{code}");
    Answer::new(status_of(code))
        .with("Content-Type", "application/json")
        .with("x-amzn-ErrorType", code)
        .body(json!({"message": message, "__type": kind}).to_string())
}

pub(super) fn refused(code: &str) -> Answer {
    error(code, message_of(code))
}

pub(super) fn answer(state: &State, incoming: &Incoming, action: &str) -> Answer {
    let token = incoming.header(BEARER).unwrap_or_default();
    if !state.knobs.lock(|knobs| knobs.aws.sso_tokens.contains(token)) {
        return refused("UnauthorizedException");
    }
    let body = match action {
        "GetRoleCredentials" => match credentials(state, incoming) {
            Ok(body) => body,
            Err(answer) => return answer,
        },
        "ListAccounts" => json!({"accountList": [
            {"accountId": "123456789012", "accountName": "fake", "emailAddress": "fake@example.com"}
        ]}),
        "ListAccountRoles" => {
            json!({"roleList": [{"roleName": "developer", "accountId": incoming.query("account_id")}]})
        }
        // `Logout`, the only one left
        _ => {
            state.knobs.set(super::Knob::RevokeSsoToken(token.to_owned()));
            return Answer::new(200);
        }
    };
    Answer::new(200).with("Content-Type", "application/json").body(body.to_string())
}

fn credentials(state: &State, incoming: &Incoming) -> Result<Value, Answer> {
    let (Some(role), Some(account)) = (incoming.query("role_name"), incoming.query("account_id")) else {
        return Err(error("InvalidRequestException", "role_name and account_id are required"));
    };
    let principal = format!("arn:aws:sts::{account}:assumed-role/AWSReservedSSO_{role}/user");
    let life = state.knobs.lock(|knobs| knobs.aws.session_life);
    let session = Sessions::open(state, &principal, life, false);
    Ok(json!({"roleCredentials": {
        "accessKeyId": session.access_key,
        "secretAccessKey": session.secret,
        "sessionToken": session.token,
        "expiration": u64::try_from(session.expires.as_millis()).unwrap_or(u64::MAX),
    }}))
}
