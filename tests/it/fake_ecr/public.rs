//! What is different at public.ecr.aws: the bearer challenge, its token endpoint, its error bodies.
//!
//! Reading is open to anyone; nothing here looks at IAM.
use super::http::Answer;
use super::registry::Visit;
use super::token::{self, Refusal, Service};
use serde_json::json;

/// Principal of tokens that were given without credentials.
pub(super) const ANYONE: &str = "anonymous";

const CHALLENGE: &str = "Bearer realm=\"https://public.ecr.aws/token/\",service=\"public.ecr.aws\",scope=\"aws\"";

/// 401 with 58 bytes or 400 with 80.
pub(super) fn refused(refusal: Refusal) -> Answer {
    match refusal {
        Refusal::Missing => not_authorized(),
        Refusal::Expired | Refusal::Invalid => Answer::error(400, "DENIED", "Your Authorization Token is invalid."),
    }
}

/// The answer to everyone without a token, and to `HEAD` of a blob whoever asks.
pub(super) fn not_authorized() -> Answer {
    Answer::error(401, "DENIED", "Not Authorized").with("Www-Authenticate", CHALLENGE)
}

/// `GET /token/`: a bearer token for anyone, one that lives longer for `Basic AWS:<token>`.
pub(super) fn token(visit: &Visit<'_>) -> Answer {
    let state = visit.state;
    let (anonymous_life, life) = state.knobs.lock(|k| (k.anonymous_life, k.token_life));
    let authorization = visit.incoming.header("authorization");
    let region = &visit.registry.region;
    let (principal, life) = match token::check(state, authorization, Service::EcrPublic, region) {
        Ok(claims) => (claims.principal, life),
        Err(Refusal::Missing) => (ANYONE.to_owned(), anonymous_life),
        Err(refusal) => return refused(refusal),
    };
    let (token, _) = token::mint(state, Service::Bearer, region, &principal, life);
    Answer::json(200, &json!({ "token": token }))
}
