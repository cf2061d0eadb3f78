//! The AWS API: JSON 1.1 of ecr and ecr-public here, and the way to sts, sso, oidc and signin.
//!
//! The access key id decides who is asking. Signatures are checked only for keys whose secret a knob names.
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::State;
use super::answer::About;
use super::call::{self, Unsigned};
use super::digest::sha256_hex;
use super::failure::{message_of, status_of};
use super::http::{Answer, Incoming};
use super::knob::{Settings, TokenReply};
use super::route::{Registry, suffix_of};
use super::s3;
use super::session::Flaw;
use super::sigv4::{self, Credential};
use super::sts;
use super::token::{self, Service};
use super::{oidc, portal, signin};

const TYPE: &str = "application/x-amz-json-1.1";

/// Who asks when no knob names a principal for the key.
pub const DEFAULT_PRINCIPAL: &str = "arn:aws:sts::123456789012:assumed-role/developer/session";

/// The principal of an access key.
pub(super) fn principal(knobs: &Settings, access_key: &str) -> String {
    let known = knobs.principals.get(access_key);
    known.cloned().unwrap_or_else(|| DEFAULT_PRINCIPAL.to_owned())
}

/// The account in an ARN.
pub(super) fn account_of(arn: &str) -> &str {
    arn.split(':').nth(4).unwrap_or("123456789012")
}

pub(super) fn about(incoming: &Incoming) -> About {
    About { digest: None, action: call::action(incoming), region: call::region(incoming) }
}

pub(super) fn error(status: u16, code: &str, message: &str) -> Answer {
    Answer::new(status)
        .with("Content-Type", TYPE)
        .with("x-amzn-ErrorType", code)
        .body(json!({"__type": code, "message": message}).to_string())
}

/// One call, its caller known.
struct Call<'a> {
    state: &'a State,
    region: String,
    principal: String,
    body: Value,
}

pub(super) fn answer(state: &State, incoming: &Incoming) -> Answer {
    let answer = match judged(state, incoming) {
        Ok(answer) | Err(answer) => answer,
    };
    let id = sha256_hex(&state.serial().to_le_bytes());
    answer.with("x-amzn-RequestId", format!("{}-{}-4000-8000-{}", &id[..8], &id[8..12], &id[12..24]))
}

fn judged(state: &State, incoming: &Incoming) -> Result<Answer, Answer> {
    let action = call::action(incoming).unwrap_or_default();
    let refused = state.knobs.lock(|knobs| knobs.aws.refused.get(&action).cloned());
    if let Some((service, action)) = Unsigned::of(incoming) {
        return Ok(unsigned(state, incoming, service, action, refused.as_deref()));
    }
    if action == "AssumeRoleWithWebIdentity" {
        let call = sts::Call { state, incoming, principal: DEFAULT_PRINCIPAL, session: None };
        return Ok(refused.map_or_else(|| call.answer(&action), |code| sts::refused(&code)));
    }
    let credential = Credential::of(incoming).filter(|_| dated(incoming));
    let missing = || error(400, "MissingAuthenticationTokenException", "Missing Authentication Token");
    let credential = credential.ok_or_else(missing)?;
    let query = credential.service == "sts";
    let failed = |code: &str| {
        if query { sts::refused(code) } else { error(status_of(code), code, message_of(code)) }
    };
    let access_key = credential.access_key.as_str();
    let (secret, principal, revoked) = state.knobs.lock(|knobs| {
        let principal = principal(knobs, access_key);
        let revoked = knobs.revoked.contains(&principal);
        (knobs.secrets.get(access_key).cloned(), principal, revoked)
    });
    if let Some((json, query_code)) = flaw(state, incoming, &credential, secret.as_deref()) {
        return Err(failed(if query { query_code } else { json }));
    }
    if let Some(code) = refused {
        return Err(failed(&code));
    }
    if state.over_rate(&action) {
        return Err(failed(if query { "Throttling" } else { "ThrottlingException" }));
    }
    if query {
        let session = state.sessions.of(access_key);
        return Ok(sts::Call { state, incoming, principal: &principal, session }.answer(&action));
    }
    let public = credential.service == "ecr-public";
    if revoked {
        let message =
            format!("User: {principal} is not authorized to perform: {}:{action} on resource: *", credential.service);
        return Err(error(400, "AccessDeniedException", &message));
    }
    let call = Call {
        state,
        region: credential.region,
        principal,
        body: serde_json::from_slice(&incoming.body).unwrap_or_default(),
    };
    Ok(match action.as_str() {
        "GetAuthorizationToken" => call.tokens(public),
        "GetDownloadUrlForLayer" => call.download_url(),
        "BatchGetImage" => call.images(),
        "DescribeImages" => call.descriptions(),
        "DescribeImageScanFindings" => error(400, "ScanNotFoundException", "Image scan does not exist"),
        _ => error(400, "UnknownOperationException", ""),
    })
}

/// What is wrong with the caller's credentials, as the code of JSON services and as that of STS.
fn flaw(
    state: &State,
    incoming: &Incoming,
    credential: &Credential,
    secret: Option<&str>,
) -> Option<(&'static str, &'static str)> {
    match state.sessions.flaw(&credential.access_key, incoming.header("x-amz-security-token")) {
        Some(Flaw::Expired) => Some(("ExpiredTokenException", "ExpiredToken")),
        Some(Flaw::Token) => Some(("UnrecognizedClientException", "InvalidClientTokenId")),
        None => {
            let wrong = secret.is_some_and(|secret| !sigv4::verify(incoming, credential, secret));
            wrong.then_some(("InvalidSignatureException", "SignatureDoesNotMatch"))
        }
    }
}

fn dated(incoming: &Incoming) -> bool {
    incoming.header("x-amz-date").is_some() || incoming.header("date").is_some()
}

fn unsigned(state: &State, incoming: &Incoming, service: Unsigned, action: &str, refused: Option<&str>) -> Answer {
    match (service, refused) {
        (Unsigned::Sso, Some(code)) => portal::refused(code),
        (Unsigned::Sso, None) => portal::answer(state, incoming, action),
        (Unsigned::Oidc, Some(code)) => oidc::refused(code),
        (Unsigned::Oidc, None) => oidc::answer(state, incoming, action),
        (Unsigned::SignIn, Some(code)) => signin::refused(code),
        (Unsigned::SignIn, None) => signin::answer(state, incoming),
    }
}

impl Call<'_> {
    fn tokens(&self, public: bool) -> Answer {
        let state = self.state;
        let (life, reply) = state.knobs.lock(|knobs| (knobs.token_life, knobs.token_reply));
        let service = if public { Service::EcrPublic } else { Service::Ecr };
        let one = |account: &str| {
            let (token, expires) = token::mint(state, service, &self.region, &self.principal, life);
            let mut data = json!({"authorizationToken": token::basic(&token)});
            if reply == TokenReply::NotUtf8 {
                data["authorizationToken"] = json!(STANDARD.encode([0xff, 0xfe, b':', 0xc3, 0x28]));
            }
            let expires = match reply {
                TokenReply::PastExpiry => state.clock.now().saturating_sub(Duration::from_hours(1)),
                _ => expires,
            };
            if reply != TokenReply::NoExpiry {
                data["expiresAt"] = json!(milliseconds(expires).as_secs_f64());
            }
            if !public {
                let region = &self.region;
                let host = format!("{account}.dkr.ecr.{region}.{}", suffix_of(region));
                data["proxyEndpoint"] = json!(format!("https://{host}"));
            }
            data
        };
        let own = account_of(&self.principal);
        let ids = self.body["registryIds"].as_array();
        let entries: Vec<Value> = match (ids, reply) {
            (_, TokenReply::Entries(count)) => (0..count).map(|_| one(own)).collect(),
            (Some(ids), _) => ids.iter().filter_map(Value::as_str).map(one).collect(),
            (None, _) => vec![one(own)],
        };
        let data = if public { entries.into_iter().next().unwrap_or_default() } else { Value::Array(entries) };
        let mut answer = proper(&json!({"authorizationData": data}));
        if reply == TokenReply::Html {
            answer.set("Content-Type", "text/html");
        }
        answer
    }

    fn registry(&self) -> Registry {
        let account = self.body["registryId"].as_str();
        let account = account.unwrap_or_else(|| account_of(&self.principal));
        let region = self.region.clone();
        Registry {
            host: format!("{account}.dkr.ecr.{region}.{}", suffix_of(&region)),
            account: account.to_owned(),
            region,
            public: false,
        }
    }

    fn name(&self) -> &str {
        self.body["repositoryName"].as_str().unwrap_or("")
    }

    fn repository_unknown(&self) -> Answer {
        let message = format!(
            "The repository with name '{}' does not exist in the registry with id '{}'",
            self.name(),
            self.registry().account
        );
        error(400, "RepositoryNotFoundException", &message)
    }

    fn download_url(&self) -> Answer {
        let (registry, name) = (self.registry(), self.name());
        let digest = self.body["layerDigest"].as_str().unwrap_or("");
        let held = self.state.store().blob_of(&registry.key(), name, digest);
        if held.is_none() {
            let message = format!(
                "The layer with digest '{digest}' does not exist within the repository with name \
                 '{name}' in the registry with id '{}'",
                registry.account
            );
            return error(400, "LayersNotFoundException", &message);
        }
        let host = s3::host_of(&registry);
        let signed = s3::presign(self.state, &registry, name, digest, &host);
        proper(&json!({"downloadUrl": format!("https://{host}{signed}"), "layerDigest": digest}))
    }

    fn images(&self) -> Answer {
        let (registry, name) = (self.registry(), self.name());
        let store = self.state.store();
        let Some(repository) = store.repository(&registry.key(), name) else {
            return self.repository_unknown();
        };
        let (mut images, mut failures) = (Vec::new(), Vec::new());
        for id in self.body["imageIds"].as_array().into_iter().flatten() {
            let reference = id["imageDigest"].as_str().or(id["imageTag"].as_str());
            let digest = reference.and_then(|reference| repository.resolve(reference));
            let Some((digest, manifest)) =
                digest.and_then(|digest| Some((digest.clone(), repository.manifests.get(&digest)?)))
            else {
                let reason = "Requested image not found";
                failures.push(json!({"imageId": id, "failureCode": "ImageNotFound", "failureReason": reason}));
                continue;
            };
            images.push(json!({
                "registryId": registry.account,
                "repositoryName": name,
                "imageId": {"imageDigest": digest, "imageTag": id["imageTag"]},
                "imageManifest": String::from_utf8_lossy(&manifest.bytes),
                "imageManifestMediaType": manifest.media_type,
            }));
        }
        proper(&json!({"images": images, "failures": failures}))
    }

    fn descriptions(&self) -> Answer {
        let (registry, name) = (self.registry(), self.name());
        let store = self.state.store();
        let Some(repository) = store.repository(&registry.key(), name) else {
            return self.repository_unknown();
        };
        let details = repository.manifests.iter().map(|(digest, manifest)| {
            let tags = repository.tags.iter().filter(|(_, tagged)| tagged == digest);
            let tags: Vec<&String> = tags.map(|(tag, _)| tag).collect();
            json!({
                "registryId": registry.account,
                "repositoryName": name,
                "imageDigest": digest,
                "imageTags": tags,
                "imageSizeInBytes": manifest.bytes.len(),
                "imageManifestMediaType": manifest.media_type,
            })
        });
        let details: Vec<Value> = details.collect();
        proper(&json!({"imageDetails": details}))
    }
}

/// Rounded to milliseconds, as AWS does.
fn milliseconds(time: Duration) -> Duration {
    Duration::from_millis(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

fn proper(body: &Value) -> Answer {
    Answer::new(200).with("Content-Type", TYPE).body(body.to_string())
}
