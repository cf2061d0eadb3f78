//! What the sign-in folder of the AWS CLI says about an SSO session, in words.
//!
//! Reads; signing in is `aws sso login`'s and `longshore login`'s work.

use std::{fs, path::PathBuf, time::SystemTime};

use jiff::Timestamp;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use serde::Deserialize;

use super::{
    Identity, Profiles,
    failure::{MintError, MintErrorKind},
    key_in_environment,
    network::{is_dispatch_failure, of_network, said},
    order::{self, Way},
    profiles::Profile,
    sources::LONGEST_CHAIN,
    variable::is_set,
};
use aws_credential_types::provider::error::CredentialsError;

/// A sign-in by the AWS CLI's rules: shared by all profiles that name the session, or the start page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignIn {
    /// The `[sso-session]`; profiles of the older form have none.
    pub session: Option<String>,
    /// The profile that asked.
    pub profile: String,
    /// The page where people sign in.
    pub start_url: String,
    /// The region of IAM Identity Center.
    pub region: String,
}

/// Where the credentials of an identity begin, as far as a person signs in there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignInBy {
    /// At IAM Identity Center.
    SignIn(SignIn),
    /// At a sign-in to the console, which only the AWS CLI renews.
    Console {
        /// The profile that has it.
        profile: String,
        /// The command that renews it.
        command: String,
    },
    /// Where nobody signs in: keys, a process, a role of the machine.
    Elsewhere,
}

/// Where the credentials of `identity` begin, by the AWS configuration: roles are followed to what they are assumed with.
#[must_use]
pub fn source(identity: &Identity, profiles: &Profiles) -> SignInBy {
    let is_elsewhere = || key_in_environment().is_some() || is_set("AWS_WEB_IDENTITY_TOKEN_FILE");
    if identity.profile.is_none() && is_elsewhere() {
        return SignInBy::Elsewhere;
    }
    let name = identity.profile.clone().unwrap_or_else(|| Profiles::selected().0);
    source_of(profiles, name)
}

fn source_of(profiles: &Profiles, mut name: String) -> SignInBy {
    for _ in 0..=LONGEST_CHAIN {
        let Some(profile) = profiles.profile(&name) else { return SignInBy::Elsewhere };
        match order::way(&profile) {
            Some(Way::Role) => match profile.get("source_profile") {
                Some(source) if *source != name => name.clone_from(source),
                _ => return SignInBy::Elsewhere,
            },
            Some(Way::SignIn) => {
                return SignIn::of(profiles, &name, &profile).map_or(SignInBy::Elsewhere, SignInBy::SignIn);
            }
            Some(Way::Console) => {
                let command =
                    if name == "default" { "aws login".to_owned() } else { format!("aws login --profile {name}") };
                return SignInBy::Console { profile: name, command };
            }
            _ => return SignInBy::Elsewhere,
        }
    }
    SignInBy::Elsewhere
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Cached {
    expires_at: String,
    /// Only whether there is one.
    refresh_token: Option<serde::de::IgnoredAny>,
}

impl SignIn {
    /// What a profile says about its sign-in, if it has one.
    pub(super) fn of(profiles: &Profiles, name: &str, profile: &Profile) -> Option<Self> {
        let session = profile.get("sso_session").cloned();
        let shared = session.as_deref().map(|session| profiles.sso_session(session)).unwrap_or_default();
        let start_url = shared.get("sso_start_url").or_else(|| profile.get("sso_start_url"))?.clone();
        let region = shared.get("sso_region").or_else(|| profile.get("sso_region")).cloned().unwrap_or_default();
        Some(Self { session, profile: name.to_owned(), start_url, region })
    }

    /// Where the sign-in is kept, by the rule of the AWS CLI: the SHA-1 of the session's name, else of the start page.
    #[must_use]
    pub fn file(&self) -> Option<PathBuf> {
        use std::fmt::Write as _;
        let name = self.session.as_ref().unwrap_or(&self.start_url);
        let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, name.as_bytes());
        let hex = hash.as_ref().iter().fold(String::new(), |mut hex, byte| {
            write!(hex, "{byte:02x}").expect("writing to a String cannot fail");
            hex
        });
        dirs::home_dir().map(|home| home.join(".aws/sso/cache").join(hex).with_extension("json"))
    }

    /// What changes when a person signs out and in again: the client that was registered for it. `None` when nobody is
    /// signed in.
    #[must_use]
    pub fn registration(&self) -> Option<String> {
        let text = fs::read_to_string(self.file()?).ok()?;
        let cached: serde_json::Value = serde_json::from_str(&text).ok()?;
        Some(format!("signed in {}\n", cached["clientId"]))
    }

    /// When the sign-in ends or ended; `None` when there is none.
    #[must_use]
    pub fn expires_at(&self) -> Option<SystemTime> {
        let time: Timestamp = self.cached()?.expires_at.replace("UTC", "Z").parse().ok()?;
        Some(time.into())
    }

    /// Whether whoever uses it can renew it without a person.
    #[must_use]
    pub fn is_renewable(&self) -> bool {
        self.session.is_some() && self.cached().is_some_and(|cached| cached.refresh_token.is_some())
    }

    fn cached(&self) -> Option<Cached> {
        let text = fs::read_to_string(self.file()?).ok()?;
        serde_json::from_str(&text).ok()
    }

    /// The session's name for people.
    #[must_use]
    pub fn name(&self) -> String {
        match &self.session {
            Some(session) => format!("SSO session {session:?}"),
            None => format!("the SSO sign-in of profile {:?}", self.profile),
        }
    }

    /// The command that signs in.
    #[must_use]
    pub fn command(&self) -> String {
        match &self.session {
            Some(session) => format!("aws sso login --sso-session {session}"),
            None => format!("aws sso login --profile {}", self.profile),
        }
    }

    /// Why it gave no credentials for what `wants` names.
    pub(super) fn failure(&self, error: &CredentialsError, wants: &Profile) -> MintError {
        let (said, name) = (said(error), self.name());
        let run = format!("run: {}", self.command());
        if is_dispatch_failure(error) {
            return of_network(&name, error);
        }
        let Some(end) = self.expires_at() else {
            return MintError::credentials(format!("{name} has no sign-in on this machine"), run);
        };
        if let Ok(ago) = SystemTime::now().duration_since(end) {
            return MintError::credentials(format!("{name} expired {} ago", words(ago)), run);
        }
        if matches!(error, CredentialsError::ProviderTimedOut(_)) {
            return MintError::silent(format!("{name}: {said}"));
        }
        if said.contains("Forbidden") || said.contains("No access") {
            let get = |key: &str| wants.get(key).map(String::as_str).unwrap_or_default();
            let (role, account) = (get("sso_role_name"), get("sso_account_id"));
            return MintError::new(
                MintErrorKind::Refused,
                format!("{name} may not use role {role:?} of account {account}"),
                format!(
                    "correct sso_account_id and sso_role_name of profile {:?}, or ask for the role; {} lists yours",
                    self.profile, self.start_url
                ),
            );
        }
        if said.contains("TooManyRequests") {
            let remedy = "IAM Identity Center limits calls; try again in a few seconds";
            return MintError::new(MintErrorKind::Throttled, format!("{name}: too many requests"), remedy);
        }
        if said.contains("Unauthorized") {
            return MintError::credentials(format!("{name} is not taken any more: it was signed out elsewhere"), run);
        }
        MintError::credentials(format!("{name}: {said}"), format!("try again; if it stays so, {run}"))
    }
}

/// What a profile that names SSO lacks to give credentials.
pub(super) fn sso_gap(profiles: &Profiles, name: &str, profile: &Profile) -> Option<MintError> {
    let session = profile.get("sso_session");
    let shared = session.map(|session| profiles.sso_session(session)).unwrap_or_default();
    if let Some(session) = session.filter(|_| shared.is_empty()) {
        let cause = format!("profile {name:?} names SSO session {session:?}, which is not in the AWS configuration");
        return Some(MintError::credentials(cause, "correct sso_session, or add it with: aws configure sso-session"));
    }
    let is_there = |key: &&str| shared.get(*key).or_else(|| profile.get(*key)).is_some_and(|value| !value.is_empty());
    let needed = ["sso_start_url", "sso_region", "sso_account_id", "sso_role_name"];
    let missing = needed.into_iter().find(|key| !is_there(key))?;
    let remedy = format!("complete it with: aws configure sso --profile {name}");
    Some(MintError::credentials(format!("profile {name:?} names SSO and lacks {missing}"), remedy))
}

/// A length of time as people say it, in its largest unit.
#[must_use]
pub fn words(time: std::time::Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn times_are_said_in_their_largest_unit() {
        let said = |seconds| words(Duration::from_secs(seconds));
        assert_eq!([said(59), said(60), said(7300), said(200_000)], ["59 s", "1 min", "2 h", "2 days"]);
    }
}
