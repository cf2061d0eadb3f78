//! With whose rights ECR is asked for tokens: the identity part of a `[[registry]]` table.
//!
//! Names identities, never holds a secret: those stay where AWS keeps them.

use std::{str::FromStr, time::Duration};

/// The shortest and the longest session that STS gives.
const SESSION: std::ops::RangeInclusive<Duration> = Duration::from_mins(15)..=Duration::from_hours(12);

/// With whose rights tokens are minted. Empty is the AWS credential chain as it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdentityRule {
    /// The profile of the AWS configuration; it beats access keys in the environment.
    pub profile: Option<String>,
    /// The role that is assumed. `{account}` and `{region}` stand for those of the registry.
    pub role_arn: Option<String>,
    /// What the role's trust policy may ask for.
    pub external_id: Option<String>,
    /// The session's name in CloudTrail.
    pub session_name: Option<String>,
    /// How long the role's session lasts.
    pub duration: Option<Duration>,
    /// The region whose API is asked, instead of the one in the registry's name.
    pub region: Option<String>,
    /// The URL of the ECR API, instead of the region's own.
    pub endpoint_url: Option<String>,
    /// The MFA device that a code is asked for.
    pub mfa_serial: Option<String>,
    /// The command that prints the code; without one a person is asked on the terminal.
    pub mfa_command: Option<String>,
    /// Whether the registry is used without credentials.
    pub anonymous: bool,
}

impl IdentityRule {
    /// Whether anything is said about how tokens are minted.
    pub(super) fn mints(&self) -> bool {
        Self { anonymous: false, ..self.clone() } != Self::default()
    }

    /// What is wrong with the combination: the key and what to write instead.
    pub(super) fn problem(&self) -> Option<(&'static str, &'static str)> {
        let bare = Self { anonymous: self.anonymous, ..Self::default() };
        if self.anonymous && *self != bare {
            return Some(("anonymous", "nobody logs in anonymously with an identity; keep one of the two"));
        }
        let needs_role = [
            ("external_id", self.external_id.is_some()),
            ("session_name", self.session_name.is_some()),
            ("duration", self.duration.is_some()),
        ];
        if let Some((key, _)) = needs_role.into_iter().find(|(_, is_set)| *is_set && self.role_arn.is_none()) {
            return Some((
                key,
                "it belongs to a role; add role_arn = \"arn:aws:iam::{account}:role/NAME\" to the table",
            ));
        }
        if self.mfa_command.is_some() && self.mfa_serial.is_none() {
            return Some(("mfa_command", "there is no device; add mfa_serial = \"arn:aws:iam::ACCOUNT:mfa/NAME\""));
        }
        if self.duration.is_some_and(|duration| !SESSION.contains(&duration)) {
            return Some(("duration", "STS gives sessions of 15 minutes to 12 hours; write for example \"1h\""));
        }
        None
    }
}

/// A text of one line with something in it.
pub(super) struct Word(pub(super) String);

impl FromStr for Word {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() || text.chars().any(char::is_control) {
            return Err(format!("{text:?} is not a name; write one line that is not empty"));
        }
        Ok(Self(text.to_owned()))
    }
}

/// The name of a region; those of the future are names as well.
pub(super) struct RegionName(pub(super) String);

impl FromStr for RegionName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_name = text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        if is_name && !text.is_empty() && !text.starts_with('-') {
            return Ok(Self(text.to_owned()));
        }
        Err(format!("{text:?} is not the name of a region; write for example \"eu-west-1\""))
    }
}

/// The ARN of a role, in which `{account}` and `{region}` may stand.
pub(super) struct RoleArn(pub(super) String);

impl FromStr for RoleArn {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let filled = text.replace("{account}", "123456789012").replace("{region}", "us-east-1");
        let parts: Vec<&str> = filled.splitn(6, ':').collect();
        let is_role = matches!(parts[..], ["arn", partition, "iam", "", account, role]
            if partition.starts_with("aws")
                && account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit())
                && role.strip_prefix("role/").is_some_and(|name| !name.is_empty()));
        if is_role && !filled.contains(['{', '}', ' ']) {
            return Ok(Self(text.to_owned()));
        }
        Err(format!(
            "{text:?} is not the ARN of a role; write for example \"arn:aws:iam::{{account}}:role/EcrPull\", \
             where {{account}} and {{region}} stand for those of the registry"
        ))
    }
}

/// The URL of an AWS API.
pub(super) struct ApiUrl(pub(super) String);

impl FromStr for ApiUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let url = url::Url::parse(text).ok();
        let is_url = url.is_some_and(|url| matches!(url.scheme(), "https" | "http") && url.has_host());
        if is_url { Ok(Self(text.to_owned())) } else { Err(format!("{text:?} is not a URL; write \"https://host\"")) }
    }
}

/// The name of another credential helper: what follows `docker-credential-` in its file name.
pub(super) struct HelperName(pub(super) String);

impl FromStr for HelperName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_name = !text.is_empty()
            && !text.starts_with("docker-credential-")
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
        if !is_name {
            return Err(format!(
                "{text:?} is not a helper's name; write what follows docker-credential-, such as \"secretservice\""
            ));
        }
        if text == "longshore" || text.starts_with("longshore-") {
            return Err("Longshore cannot be its own fallback; name the helper that was there before".to_owned());
        }
        Ok(Self(text.to_owned()))
    }
}
