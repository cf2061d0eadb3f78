//! The `OpenID` Connect service of IAM Identity Center: registration, device codes, tokens.
//!
//! Clients and refresh tokens are taken as they come; device codes work once, and only when a knob approves.
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};

use super::State;
use super::failure::{message_of, status_of};
use super::http::{Answer, Incoming};
use super::knob::{DeviceSignIn, Knob};

/// The device codes that no token was given out for.
#[derive(Debug, Default)]
pub(super) struct SignIns(Mutex<BTreeSet<String>>);

impl SignIns {
    fn with<T>(&self, change: impl FnOnce(&mut BTreeSet<String>) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// `InvalidGrantException` comes with the `invalid_grant` of OAuth.
pub(super) fn refused(code: &str) -> Answer {
    let mut short = String::new();
    for letter in code.strip_suffix("Exception").unwrap_or(code).chars() {
        if letter.is_ascii_uppercase() && !short.is_empty() {
            short.push('_');
        }
        short.push(letter.to_ascii_lowercase());
    }
    Answer::new(status_of(code))
        .with("Content-Type", "application/json")
        .with("x-amzn-ErrorType", code)
        .body(json!({"error": short, "error_description": message_of(code)}).to_string())
}

pub(super) fn answer(state: &State, incoming: &Incoming, action: &str) -> Answer {
    let body: Value = serde_json::from_slice(&incoming.body).unwrap_or_default();
    let outcome = match action {
        "RegisterClient" => Ok(registered(state)),
        "StartDeviceAuthorization" => Ok(started(state)),
        _ => token(state, &body),
    };
    match outcome {
        Ok(body) => Answer::new(200).with("Content-Type", "application/json").body(body.to_string()),
        Err(code) => refused(code),
    }
}

fn registered(state: &State) -> Value {
    let number = state.serial();
    let now = state.clock.now().as_secs();
    json!({
        "clientId": format!("client-{number}"),
        "clientSecret": format!("client-secret-{number}"),
        "clientIdIssuedAt": now,
        "clientSecretExpiresAt": now + 90 * 24 * 3600,
    })
}

fn started(state: &State) -> Value {
    let number = state.serial();
    let (device, user) = (format!("device-code-{number}"), format!("FAKE-{number:04}"));
    state.sign_ins.with(|open| open.insert(device.clone()));
    json!({
        "deviceCode": device,
        "userCode": user,
        "verificationUri": "https://device.sso.us-east-1.amazonaws.com/",
        "verificationUriComplete": format!("https://device.sso.us-east-1.amazonaws.com/?user_code={user}"),
        "expiresIn": 600,
        "interval": 1,
    })
}

fn token(state: &State, body: &Value) -> Result<Value, &'static str> {
    let text = |name: &str| body[name].as_str().unwrap_or_default();
    match text("grantType") {
        "refresh_token" if text("refreshToken").is_empty() => return Err("InvalidRequestException"),
        "refresh_token" => {}
        "urn:ietf:params:oauth:grant-type:device_code" => device(state, text("deviceCode"))?,
        _ => return Err("UnsupportedGrantTypeException"),
    }
    let number = state.serial();
    let access = format!("sso-access-token-{number}");
    state.knobs.set(Knob::SsoToken(access.clone()));
    let life = state.knobs.lock(|knobs| knobs.aws.session_life);
    Ok(json!({
        "accessToken": access,
        "tokenType": "Bearer",
        "expiresIn": life.as_secs(),
        "refreshToken": format!("sso-refresh-token-{number}"),
    }))
}

fn device(state: &State, code: &str) -> Result<(), &'static str> {
    match state.knobs.lock(|knobs| knobs.aws.device) {
        _ if !state.sign_ins.with(|open| open.contains(code)) => Err("InvalidGrantException"),
        DeviceSignIn::Pending => Err("AuthorizationPendingException"),
        DeviceSignIn::SlowDown => Err("SlowDownException"),
        DeviceSignIn::Denied => Err("AccessDeniedException"),
        DeviceSignIn::Expired => Err("ExpiredTokenException"),
        DeviceSignIn::Approved => {
            state.sign_ins.with(|open| open.remove(code));
            Ok(())
        }
    }
}
