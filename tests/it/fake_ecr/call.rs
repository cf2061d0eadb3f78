//! Calls of the AWS API as a test wants to see them: which service and action, who asked, with what.
//!
//! Signed calls name their service themselves; the others are known by path, as all services share one listener.
use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use url::form_urlencoded;

use super::State;
use super::api;
use super::http::Incoming;
use super::portal::BEARER;
use super::sigv4::Credential;
use super::sts;

/// The services of the AWS API listener that are known by path, since nobody signs their requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unsigned {
    /// The access portal of IAM Identity Center.
    Sso,
    /// Its `OpenID` Connect service.
    Oidc,
    /// The sign-in service of `aws login`.
    SignIn,
}

impl Unsigned {
    /// Service and action of a request, if it is of one of these services.
    pub(super) fn of(incoming: &Incoming) -> Option<(Self, &'static str)> {
        match (incoming.method.as_str(), incoming.path()) {
            ("GET", "/federation/credentials") => Some((Self::Sso, "GetRoleCredentials")),
            ("GET", "/assignment/accounts") => Some((Self::Sso, "ListAccounts")),
            ("GET", "/assignment/roles") => Some((Self::Sso, "ListAccountRoles")),
            ("POST", "/logout") => Some((Self::Sso, "Logout")),
            ("POST", "/client/register") => Some((Self::Oidc, "RegisterClient")),
            ("POST", "/device_authorization") => Some((Self::Oidc, "StartDeviceAuthorization")),
            ("POST", "/token") => Some((Self::Oidc, "CreateToken")),
            ("POST", "/v1/token") => Some((Self::SignIn, "CreateOAuth2Token")),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Sso => "sso",
            Self::Oidc => "oidc",
            Self::SignIn => "signin",
        }
    }
}

/// One call of the AWS API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ApiCall {
    /// `ecr`, `ecr-public`, `sts`, `sso`, `oidc` or `signin`; empty for what is none of them.
    pub service: String,
    /// `GetAuthorizationToken`, `AssumeRole`, `CreateToken`, ...
    pub action: String,
    /// Access key id of the signer.
    pub access_key: Option<String>,
    /// ARN of the signer, as far as it was known when the call came in.
    pub principal: Option<String>,
    /// Region of the signature, or of the host.
    pub region: Option<String>,
    /// The `Host` header as sent.
    pub host: String,
    /// Whether it came in over TLS.
    pub tls: bool,
    /// Parameters of the query, the form or the JSON object; `x-amz-sso_bearer_token` too.
    pub parameters: BTreeMap<String, String>,
}

impl ApiCall {
    pub(super) fn of(state: &State, tls: bool, incoming: &Incoming) -> Self {
        let credential = Credential::of(incoming);
        let unsigned = Unsigned::of(incoming).map(|(service, _)| service.name());
        let query = sts::action(incoming).map(|_| "sts");
        let signed = credential.as_ref().map(|credential| credential.service.as_str());
        let access_key = credential.as_ref().map(|credential| credential.access_key.clone());
        let principal = |key: &String| state.knobs.lock(|knobs| api::principal(knobs, key));
        Self {
            service: unsigned.or(signed).or(query).unwrap_or_default().to_owned(),
            action: action(incoming).unwrap_or_default(),
            principal: access_key.as_ref().map(principal),
            access_key,
            region: region(incoming),
            host: incoming.header("host").unwrap_or_default().to_owned(),
            tls,
            parameters: parameters(incoming),
        }
    }

    /// A parameter, empty when it was not sent.
    #[must_use]
    pub fn parameter(&self, name: &str) -> &str {
        self.parameters.get(name).map_or("", String::as_str)
    }
}

/// The action, wherever the protocol has it.
pub(super) fn action(incoming: &Incoming) -> Option<String> {
    if let Some((_, action)) = Unsigned::of(incoming) {
        return Some(action.to_owned());
    }
    let target = incoming.header("x-amz-target");
    let action = target.and_then(|target| target.rsplit('.').next());
    action.map(str::to_owned).or_else(|| sts::action(incoming))
}

/// The region of the signature, or the label of the host that looks like one.
pub(super) fn region(incoming: &Incoming) -> Option<String> {
    let signed = Credential::of(incoming).map(|credential| credential.region);
    let looks = |label: &&str| label.matches('-').count() >= 2 && label.ends_with(|last: char| last.is_ascii_digit());
    signed.or_else(|| incoming.host().split('.').find(looks).map(str::to_owned))
}

fn parameters(incoming: &Incoming) -> BTreeMap<String, String> {
    let pairs = |text: &[u8]| -> Vec<(String, String)> { form_urlencoded::parse(text).into_owned().collect() };
    let mut all: BTreeMap<_, _> = pairs(incoming.raw_query().as_bytes()).into_iter().collect();
    match serde_json::from_slice::<Value>(&incoming.body) {
        Ok(Value::Object(members)) => all.extend(members.into_iter().map(|(name, value)| match value {
            Value::String(text) => (name, text),
            other => (name, other.to_string()),
        })),
        _ => all.extend(pairs(&incoming.body)),
    }
    all.extend(incoming.header(BEARER).map(|token| (BEARER.to_owned(), token.to_owned())));
    all
}
