//! What a machine or a container asks for its credentials: `IMDSv2`, ECS, EKS Pod Identity.
//!
//! Version 1 of the instance metadata, without a token, is refused.
use serde_json::json;

use super::State;
use super::clock::iso_date;
use super::http::{Answer, Incoming};
use super::session::Sessions;

/// The one token; it outlives every test.
const TOKEN: &str = "fake-imds-token";
const ROLES: &str = "/latest/meta-data/iam/security-credentials/";

pub(super) fn answer(state: &State, incoming: &Incoming) -> Answer {
    match (incoming.method.as_str(), incoming.path()) {
        ("PUT", "/latest/api/token") => token(incoming),
        ("GET", "/ecs/credentials") => container(state, incoming, "task"),
        ("GET", "/v1/credentials") => container(state, incoming, "pod"),
        ("GET", path) if path.starts_with("/latest/") => instance(state, incoming, path),
        _ => Answer::new(404),
    }
}

fn token(incoming: &Incoming) -> Answer {
    let header = "x-aws-ec2-metadata-token-ttl-seconds";
    match incoming.header(header) {
        Some(seconds) => text(TOKEN).with(header, seconds),
        None => Answer::new(400),
    }
}

fn instance(state: &State, incoming: &Incoming, path: &str) -> Answer {
    if incoming.header("x-aws-ec2-metadata-token") != Some(TOKEN) {
        return Answer::new(401);
    }
    let (role, region) = state.knobs.lock(|knobs| (knobs.aws.metadata_role.clone(), knobs.aws.metadata_region.clone()));
    if path == "/latest/meta-data/placement/region" {
        return text(&region);
    }
    let (Some(role), Some(asked)) = (role, path.strip_prefix(ROLES.trim_end_matches('/'))) else {
        return Answer::new(404);
    };
    match asked.trim_start_matches('/') {
        "" => text(&role),
        asked if asked == role => credentials(state, &role, "i-0123456789abcdef0"),
        _ => Answer::new(404),
    }
}

fn container(state: &State, incoming: &Incoming, role: &str) -> Answer {
    let wanted = state.knobs.lock(|knobs| knobs.aws.container_authorization.clone());
    if wanted.is_some() && wanted.as_deref() != incoming.header("authorization") {
        return Answer::new(401).with("Content-Type", "text/plain").body("unauthorized");
    }
    credentials(state, role, "container")
}

fn credentials(state: &State, role: &str, name: &str) -> Answer {
    let life = state.knobs.lock(|knobs| knobs.aws.session_life);
    let principal = format!("arn:aws:sts::123456789012:assumed-role/{role}/{name}");
    let session = Sessions::open(state, &principal, life, false);
    let body = json!({
        "Code": "Success",
        "LastUpdated": iso_date(state.clock.now()),
        "Type": "AWS-HMAC",
        "RoleArn": format!("arn:aws:iam::123456789012:role/{role}"),
        "AccessKeyId": session.access_key,
        "SecretAccessKey": session.secret,
        "Token": session.token,
        "Expiration": iso_date(session.expires),
    });
    Answer::new(200).with("Content-Type", "application/json").body(body.to_string())
}

fn text(body: &str) -> Answer {
    Answer::new(200).with("Content-Type", "text/plain").body(body.to_owned())
}
