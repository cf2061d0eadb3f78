//! The two messages between the kubelet and a credential provider: one request is read, one response is written.
//!
//! Tolerant of what a newer kubelet may add, strict in what it gets back, since its decoder refuses unknown fields. No
//! failure repeats what a request holds beside its kind and version: that may be a service account token.

use std::{
    collections::BTreeMap,
    io::Read,
    time::{Duration, SystemTime},
};

use serde::Deserialize;
use serde_json::{Value, error::Category, json};

use super::Failure;
use crate::{ecr::AuthorizationToken, secret::Secret};

/// The versions of the protocol. Their messages have the same fields, so each request is answered in its own.
const VERSIONS: [&str; 3] = [
    "credentialprovider.kubelet.k8s.io/v1",
    "credentialprovider.kubelet.k8s.io/v1beta1",
    "credentialprovider.kubelet.k8s.io/v1alpha1",
];
const KIND: &str = "CredentialProviderRequest";
/// Kubernetes bounds all annotations of an object to 256 KiB, and a token to much less.
const LONGEST_REQUEST: u64 = 1024 * 1024;
/// How much of a wrong word is repeated.
const LONGEST_WORD: usize = 80;
const CALLED_BY: &str = "the kubelet calls this program with one CredentialProviderRequest on its standard input; \
                         how to set that up says: longshore setup kubelet";

/// What the kubelet asks.
#[derive(Debug)]
pub(super) struct Request {
    version: &'static str,
    /// The image that is pulled, as its name is written.
    pub(super) image: String,
    /// The token of the pod's service account, if the kubelet is set up to send it.
    pub(super) service_account_token: Option<Secret>,
    /// The annotations of that service account that the kubelet is set up to send.
    pub(super) annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    image: String,
    service_account_token: Option<String>,
    service_account_annotations: Option<BTreeMap<String, String>>,
}

impl Request {
    /// Reads one request, to the end of `input`.
    pub(super) fn read(input: &mut dyn Read) -> Result<Self, Failure> {
        let mut bytes = Vec::new();
        let read = input.take(LONGEST_REQUEST + 1).read_to_end(&mut bytes);
        read.map_err(|error| Failure::new(format!("standard input: {error}"), CALLED_BY))?;
        if u64::try_from(bytes.len()).is_ok_and(|length| length > LONGEST_REQUEST) {
            return Err(Failure::new("the request is longer than 1 MiB", CALLED_BY));
        }
        let text = String::from_utf8(bytes).map_err(|_| Failure::new("the request is not UTF-8 text", CALLED_BY))?;
        Self::parse(&Secret::new(text))
    }

    fn parse(text: &Secret) -> Result<Self, Failure> {
        if text.expose().trim().is_empty() {
            return Err(Failure::new("there is no request on standard input", CALLED_BY));
        }
        let raw: Raw = serde_json::from_str(text.expose()).map_err(|error| {
            let what = if error.classify() == Category::Data { KIND } else { "JSON" };
            let (line, column) = (error.line(), error.column());
            Failure::new(format!("the request is not {what}: line {line}, column {column}"), CALLED_BY)
        })?;
        if raw.kind != KIND {
            return Err(Failure::new(format!("the request's kind is {}, not {KIND}", shown(&raw.kind)), CALLED_BY));
        }
        let Some(version) = VERSIONS.into_iter().find(|version| *version == raw.api_version) else {
            let cause = format!("the request's apiVersion {} is not known here", shown(&raw.api_version));
            let remedy = format!("write apiVersion: {} for this provider in the CredentialProviderConfig", VERSIONS[0]);
            return Err(Failure::new(cause, remedy));
        };
        if raw.image.trim().is_empty() {
            return Err(Failure::new("the request names no image", CALLED_BY));
        }
        Ok(Self {
            version,
            image: raw.image,
            service_account_token: raw.service_account_token.filter(|token| !token.is_empty()).map(Secret::new),
            annotations: raw.service_account_annotations.unwrap_or_default(),
        })
    }

    /// The registry in the image's name, as it is written there: the kubelet compares the two byte by byte.
    pub(super) fn registry(&self) -> &str {
        let image = self.image.trim();
        let image = image.split_once("://").map_or(image, |(_, rest)| rest);
        image.split('/').next().unwrap_or_default()
    }

    /// The response that lets the pull go on without credentials. It is not to be remembered.
    pub(super) fn anonymous(&self) -> String {
        self.response(Duration::ZERO, &json!({}))
    }

    /// The response with a token; `None` when the token holds no user and password.
    pub(super) fn found(&self, token: &AuthorizationToken, now: SystemTime) -> Option<String> {
        let (user, password) = token.user_and_password()?;
        let login = json!({ "username": user, "password": password.expose() });
        Some(self.response(kept_for(token, now), &json!({ self.registry(): login })))
    }

    fn response(&self, kept_for: Duration, auth: &Value) -> String {
        let response = json!({
            "apiVersion": self.version,
            "kind": "CredentialProviderResponse",
            "cacheKeyType": "Registry",
            "cacheDuration": go_duration(kept_for),
            "auth": auth,
        });
        response.to_string()
    }
}

/// How long the kubelet may hand a token out: half of what is left of its life, and not beyond the time when a newer one
/// is wanted, which may be the end of the session it was minted with.
fn kept_for(token: &AuthorizationToken, now: SystemTime) -> Duration {
    let left = token.expires_at.duration_since(now).unwrap_or_default();
    let fresh = token.refresh_at.duration_since(now).unwrap_or_default();
    (left / 2).min(fresh)
}

/// A duration as Go writes it, in whole seconds: `5h59m30s`.
fn go_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds}s"),
        (0, minutes, seconds) => format!("{minutes}m{seconds}s"),
        (hours, minutes, seconds) => format!("{hours}h{minutes}m{seconds}s"),
    }
}

fn shown(word: &str) -> String {
    let start: String = word.chars().take(LONGEST_WORD).collect();
    format!("{start:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(image: &str) -> Request {
        let text = json!({ "apiVersion": VERSIONS[0], "kind": KIND, "image": image }).to_string();
        Request::read(&mut text.as_bytes()).unwrap()
    }

    #[test]
    fn durations_are_written_as_go_writes_them() {
        for (seconds, text) in
            [(0, "0s"), (59, "59s"), (60, "1m0s"), (3599, "59m59s"), (21_600, "6h0m0s"), (360_001, "100h0m1s")]
        {
            assert_eq!(go_duration(Duration::from_secs(seconds)), text);
        }
        assert_eq!(go_duration(Duration::from_millis(1999)), "1s");
    }

    #[test]
    fn a_token_is_kept_for_half_of_what_is_left_and_not_beyond_its_refresh() {
        let start = SystemTime::UNIX_EPOCH;
        let hours = Duration::from_hours;
        let token = |refresh: u64, end: u64| AuthorizationToken {
            basic: Secret::new(String::new()),
            minted_at: start,
            refresh_at: start + hours(refresh),
            expires_at: start + hours(end),
        };
        assert_eq!(kept_for(&token(6, 12), start), hours(6));
        assert_eq!(kept_for(&token(6, 12), start + hours(4)), hours(2));
        assert_eq!(kept_for(&token(12, 12), start + hours(4)), hours(4));
        assert_eq!(kept_for(&token(1, 12), start), hours(1));
        assert_eq!(kept_for(&token(6, 12), start + hours(7)), Duration::ZERO);
        assert_eq!(kept_for(&token(6, 12), start + hours(13)), Duration::ZERO);
    }

    #[test]
    fn the_registry_is_what_the_image_begins_with() {
        for (image, registry) in [
            ("host.example/app:v1@sha256:00", "host.example"),
            ("Host.Example:443/a/b/c", "Host.Example:443"),
            ("https://host.example/app", "host.example"),
            ("host.example", "host.example"),
            ("nginx", "nginx"),
        ] {
            assert_eq!(request(image).registry(), registry);
        }
    }

    #[test]
    fn what_a_request_holds_is_not_repeated() {
        for text in [
            r#""hunter2""#,
            r#"{"serviceAccountToken":["hunter2"]}"#,
            r#"{"serviceAccountToken":"hunter2"}"#,
            r#"{"serviceAccountToken":"hunter2",}"#,
            r#"{"image":"","serviceAccountToken":"hunter2","kind":"CredentialProviderRequest","apiVersion":"v2"}"#,
        ] {
            let failure = Request::read(&mut text.as_bytes()).unwrap_err();
            assert!(!format!("{failure:?}").contains("hunter2"), "{failure:?}");
        }
    }
}
