//! A `[[registry]]` table as it is written, and the checks between it and a [`RegistryRule`].
//!
//! Mostly about rules that could never count: who writes one believes that it does.

use serde::Deserialize;
use toml::Spanned;

use super::{
    Endpoint, HostPattern, IdentityRule, RegistryRule, TagPattern,
    identity::{ApiUrl, RegionName, RoleArn, Word},
    value::{Size, Text, TimeLimit, WholePath},
};
use crate::oci::Registry;

/// The names of ECR that have no account in them, and fewer labels than all others.
const PUBLIC: [&str; 2] = ["public.ecr.aws", "ecr-public.aws.com"];
/// `<account>.dkr-ecr.<region>.on.aws` is the shortest of the others.
const LABELS: usize = 5;
const ACCOUNT_DIGITS: usize = 12;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRegistry {
    r#match: Spanned<Text<HostPattern>>,
    endpoint: Option<Text<Endpoint>>,
    username: Option<Spanned<String>>,
    password_file: Option<Spanned<WholePath>>,
    token_host: Option<Spanned<Text<Registry>>>,
    alias: Option<Text<Registry>>,
    max_size: Option<Size>,
    #[serde(default)]
    immutable: Vec<Text<TagPattern>>,
    profile: Option<Text<Word>>,
    role_arn: Option<Spanned<Text<RoleArn>>>,
    external_id: Option<Text<Word>>,
    session_name: Option<Text<Word>>,
    duration: Option<TimeLimit>,
    region: Option<Text<RegionName>>,
    endpoint_url: Option<Text<ApiUrl>>,
    mfa_serial: Option<Text<Word>>,
    mfa_command: Option<Text<Word>>,
    #[serde(default)]
    anonymous: bool,
}

impl RawRegistry {
    pub(super) fn check(self) -> Result<RegistryRule, (usize, String)> {
        let raw = self;
        match (&raw.username, &raw.password_file) {
            (None, Some(file)) => {
                let problem = "there is a password without a user; add username = \"…\" to the table";
                return Err((file.span().start, problem.to_owned()));
            }
            (Some(user), None) => {
                let problem = "there is a user without a password; add password_file = \"/path\" to the table";
                return Err((user.span().start, problem.to_owned()));
            }
            _ => {}
        }
        if let Some(host) = raw.token_host.as_ref().filter(|host| host.get_ref().0.as_str().contains(':')) {
            let problem = "the token service is reached by https on its usual port; write the host without a port";
            return Err((host.span().start, problem.to_owned()));
        }
        let at = raw.r#match.span().start;
        if let Some(role) = raw.role_arn.as_ref().filter(|role| role.get_ref().0.0.contains("{account}")) {
            let meant = raw.alias.as_ref().map_or(raw.r#match.get_ref().0.as_str(), |alias| alias.0.as_str());
            if PUBLIC.contains(&meant) || meant.starts_with("vpce-") {
                let problem = format!(
                    "{{account}} is the account in the registry's name, and {meant} has none; write its digits"
                );
                return Err((role.span().start, problem));
            }
        }
        let identity = IdentityRule {
            profile: raw.profile.map(|text| text.0.0),
            role_arn: raw.role_arn.map(|text| text.into_inner().0.0),
            external_id: raw.external_id.map(|text| text.0.0),
            session_name: raw.session_name.map(|text| text.0.0),
            duration: raw.duration.map(|time| time.0),
            region: raw.region.map(|text| text.0.0),
            endpoint_url: raw.endpoint_url.map(|text| text.0.0),
            mfa_serial: raw.mfa_serial.map(|text| text.0.0),
            mfa_command: raw.mfa_command.map(|text| text.0.0),
            anonymous: raw.anonymous,
        };
        if let Some((key, problem)) = identity.problem() {
            return Err((at, format!("{key} of this table: {problem}")));
        }
        if raw.username.is_some() && identity != IdentityRule::default() {
            return Err((at, "this table names a user and an AWS identity; keep one of the two".to_owned()));
        }
        let pattern = raw.r#match.into_inner().0;
        check_pattern(&pattern, raw.alias.is_none() && identity.mints()).map_err(|problem| (at, problem))?;
        Ok(RegistryRule {
            pattern,
            endpoint: raw.endpoint.map(|text| text.0),
            username: raw.username.map(Spanned::into_inner),
            password_file: raw.password_file.map(|file| file.into_inner().0),
            token_host: raw.token_host.map(|text| text.into_inner().0.host().to_owned()),
            alias: raw.alias.map(|text| text.0),
            max_size: raw.max_size.map(|size| size.0),
            immutable: raw.immutable.into_iter().map(|text| text.0).collect(),
            identity,
        })
    }
}

/// Refuses a pattern that can match nothing it is meant for. `mints` is whether its table says how tokens of ECR are minted,
/// for the names that the pattern itself matches.
fn check_pattern(pattern: &HostPattern, mints: bool) -> Result<(), String> {
    let text = pattern.as_str();
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    if is_number && text.len() != ACCOUNT_DIGITS {
        return Err(format!(
            "{text:?} has {} digits, and an AWS account id has {ACCOUNT_DIGITS}; write all of them, in quotes",
            text.len()
        ));
    }
    let host = text.split(':').next().unwrap_or_default();
    let is_of_ecr = is_number || host.split('.').count() >= LABELS || PUBLIC.iter().any(|name| pattern.matches(name));
    if mints && !is_of_ecr {
        return Err(format!(
            "no registry of ECR has a name like {text:?}, where * stands for part of one label: write all the labels, as \
             in \"*.dkr.ecr.*.amazonaws.com\", or an account id, or add alias = \"…\", the registry it is another name of"
        ));
    }
    Ok(())
}
