//! Authorization tokens: what `GetAuthorizationToken` and `/token/` give out and what the registry takes.
//!
//! A token is base64 of its claims and padding to ECR's size. It is not signed: a test may forge one,
//! the fake never checks more than region, service and time.
use std::sync::atomic::Ordering;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::State;
use super::digest;

/// Which front door a token opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Service {
    /// `AWS:<token>` for `<account>.dkr.ecr.<region>`.
    Ecr,
    /// `AWS:<token>` for `public.ecr.aws/token/`.
    EcrPublic,
    /// The bearer token that `/token/` gives for it, or to anyone.
    Bearer,
}

/// What a token says. The order of the fields is the order in its JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Claims {
    pub(super) region: String,
    pub(super) principal: String,
    /// Milliseconds since the epoch, virtual time.
    pub(super) exp: u64,
    pub(super) nonce: u64,
    pub(super) service: Service,
    padding: String,
}

/// Why a token is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Missing,
    Expired,
    Invalid,
}

/// A fresh token and when it ends, since the epoch.
pub(super) fn mint(
    state: &State,
    service: Service,
    region: &str,
    principal: &str,
    life: Duration,
) -> (String, Duration) {
    let nonce = state.token_serial.fetch_add(1, Ordering::SeqCst) + 1;
    let expires = state.clock.now() + life;
    let size = state.knobs.lock(|knobs| knobs.token_bytes);
    let claims = Claims {
        region: region.to_owned(),
        principal: principal.to_owned(),
        exp: u64::try_from(expires.as_millis()).unwrap_or(u64::MAX),
        nonce,
        service,
        padding: digest::hex(&digest::noise(nonce, size * 3 / 8)),
    };
    let json = serde_json::to_vec(&claims).expect("claims are plain data");
    (STANDARD.encode(json), expires)
}

/// Checks the value of an `Authorization` header for `service` and `region`.
pub(super) fn check(
    state: &State,
    authorization: Option<&str>,
    service: Service,
    region: &str,
) -> Result<Claims, Refusal> {
    let (scheme, value) = authorization.and_then(|value| value.split_once(' ')).ok_or(Refusal::Missing)?;
    let token = match service {
        Service::Bearer if scheme.eq_ignore_ascii_case("bearer") => value.to_owned(),
        Service::Ecr | Service::EcrPublic if scheme.eq_ignore_ascii_case("basic") => {
            password(value).ok_or(Refusal::Invalid)?
        }
        _ => return Err(Refusal::Missing),
    };
    let claims: Claims = STANDARD
        .decode(token.trim())
        .ok()
        .and_then(|json| serde_json::from_slice(&json).ok())
        .ok_or(Refusal::Invalid)?;
    if claims.service != service || claims.region != region {
        return Err(Refusal::Invalid);
    }
    let ended = Duration::from_millis(claims.exp) <= state.clock.now();
    if ended || claims.nonce <= state.tokens_expired_through.load(Ordering::SeqCst) {
        return Err(Refusal::Expired);
    }
    Ok(claims)
}

/// Every token given out so far is expired from now on.
pub(super) fn expire_all(state: &State) {
    let latest = state.token_serial.load(Ordering::SeqCst);
    state.tokens_expired_through.store(latest, Ordering::SeqCst);
}

/// The value for `Authorization: Basic`, as the API returns it.
pub(super) fn basic(token: &str) -> String {
    STANDARD.encode(format!("AWS:{token}"))
}

fn password(basic: &str) -> Option<String> {
    let pair = String::from_utf8(STANDARD.decode(basic.trim()).ok()?).ok()?;
    Some(pair.strip_prefix("AWS:")?.to_owned())
}
