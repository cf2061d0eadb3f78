//! Where credentials come from, in the order of the AWS CLI and the Go SDK: environment, web identity, profile, container,
//! instance.
//!
//! A profile that is named by the configuration, or by the program's name, is asked alone. Roles are assumed by `role`.

use std::{env, fs};

use aws_config::{ecs::EcsCredentialsProvider, profile::ProfileFileCredentialsProvider};
use aws_credential_types::{
    Credentials,
    provider::{ProvideCredentials, error::CredentialsError},
};

use super::{
    Identity, Mfa, Profiles, Role,
    failure::{MintError, MintErrorKind},
    keys, metadata,
    network::{is_dispatch_failure, of_network, said},
    order::{self, Way},
    process,
    profiles::Profile,
    role::{self, Codes},
    sdk::Sdk,
    sso::{SignIn, sso_gap},
    variable::{is_set, variable},
};
use crate::secret::Secret;

/// Nobody chains more roles than AWS lets sessions be chained; a circle would.
pub(super) const LONGEST_CHAIN: usize = 8;

/// The search for the credentials of one identity.
pub(super) struct Search<'a> {
    pub(super) sdk: &'a Sdk,
    pub(super) profiles: &'a Profiles,
    pub(super) codes: &'a mut Codes,
    /// Whether nobody answered at the metadata service; known before, or learned.
    pub(super) no_metadata: bool,
}

impl Search<'_> {
    /// The credentials that `identity` names.
    pub(super) async fn run(&mut self, identity: &Identity) -> Result<Credentials, MintError> {
        let mfa = identity.role.as_ref().map_or(identity.mfa.as_ref(), |role| role.mfa.as_ref());
        if let Some(credentials) = role::check_code(identity.role.as_ref(), mfa, self.codes)? {
            return Ok(credentials);
        }
        let source = match &identity.profile {
            Some(name) => self.named_profile(name).await?,
            None => self.chain().await?,
        };
        match (&identity.role, &identity.mfa) {
            (Some(role), _) => role::assume(self.sdk, source, role, self.codes).await,
            (None, Some(mfa)) => role::session(self.sdk, source, mfa, self.codes).await,
            (None, None) => Ok(source),
        }
    }

    async fn chain(&mut self) -> Result<Credentials, MintError> {
        if let Some(credentials) = keys::in_environment()? {
            return Ok(credentials);
        }
        if is_set("AWS_WEB_IDENTITY_TOKEN_FILE") {
            return self.web_identity().await;
        }
        let (name, is_named) = Profiles::selected();
        if is_named {
            return self.named_profile(&name).await;
        }
        if let Some(credentials) = self.profile(&name, 0).await? {
            return Ok(credentials);
        }
        if is_set("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") || is_set("AWS_CONTAINER_CREDENTIALS_FULL_URI") {
            return self.container().await;
        }
        self.instance().await?.ok_or_else(MintError::no_credentials)
    }

    async fn named_profile(&mut self, name: &str) -> Result<Credentials, MintError> {
        self.profile(name, 0).await?.ok_or_else(|| {
            let remedy = format!("give it credentials with: aws configure --profile {name}");
            MintError::credentials(format!("profile {name:?} says nothing about credentials"), remedy)
        })
    }

    /// The credentials of a profile; `None` when it names no source, or is the default one and does not exist.
    async fn profile(&mut self, name: &str, depth: usize) -> Result<Option<Credentials>, MintError> {
        self.profiles.check()?;
        let Some(profile) = self.profiles.profile(name) else {
            return if name == "default" && depth == 0 { Ok(None) } else { Err(self.missing(name)) };
        };
        if depth > LONGEST_CHAIN {
            let remedy = "correct source_profile: a chain of profiles must end at one with credentials of its own";
            return Err(MintError::credentials(format!("profile {name:?} leads back to itself"), remedy));
        }
        let Some(way) = order::way(&profile) else { return Ok(None) };
        let found = match way {
            Way::Role => Box::pin(self.role_of(name, &profile, depth)).await,
            Way::WebIdentity => self.web_identity_of(name, &profile).await,
            Way::SignIn => self.signed_in(name, &profile).await,
            Way::Console => self.sdk_profile(name).await.map_err(|error| login_failure(name, &error)),
            Way::Process => {
                let command = profile.get("credential_process").map(String::as_str).unwrap_or_default();
                process::credentials(name, command).await
            }
            // one half of a key is a failure in words there
            Way::Key | Way::HalfOfAKey => return keys::in_profile(name, &profile),
        };
        found.map(Some)
    }

    async fn signed_in(&self, name: &str, profile: &Profile) -> Result<Credentials, MintError> {
        if let Some(gap) = sso_gap(self.profiles, name, profile) {
            return Err(gap);
        }
        let sign_in = SignIn::of(self.profiles, name, profile);
        self.sdk_profile(name).await.map_err(|error| match sign_in {
            Some(sign_in) => sign_in.failure(&error, profile),
            None => failure(&format!("the SSO sign-in of profile {name:?}"), &error, "run: aws configure sso"),
        })
    }

    async fn web_identity_of(&self, name: &str, profile: &Profile) -> Result<Credentials, MintError> {
        let get = |key: &str| profile.get(key).map(String::as_str).unwrap_or_default();
        let setting = format!("web_identity_token_file of profile {name:?}");
        let session = profile.get("role_session_name").cloned();
        self.shown(get("web_identity_token_file"), &setting, get("role_arn"), session).await
    }

    /// The role of a profile, assumed with the rights of the profile or source it names.
    async fn role_of(&mut self, name: &str, profile: &Profile, depth: usize) -> Result<Credentials, MintError> {
        let role = role_in(profile);
        if let Some(credentials) = role::check_code(Some(&role), role.mfa.as_ref(), self.codes)? {
            return Ok(credentials);
        }
        let source = match (profile.get("source_profile"), profile.get("credential_source")) {
            (Some(source), _) if source == name => keys::in_profile(name, profile)?,
            (Some(source), _) => self.profile(source, depth + 1).await?,
            (None, Some(source)) => match source.to_ascii_lowercase().as_str() {
                "environment" => keys::in_environment()?,
                "ec2instancemetadata" => self.instance().await?,
                "ecscontainer" => Some(self.container().await?),
                _ => None,
            },
            (None, None) => keys::in_profile(name, profile)?,
        };
        let source = source.ok_or_else(|| {
            let remedy = "give the profile a source_profile that has credentials, or credential_source = Environment, \
                          Ec2InstanceMetadata or EcsContainer where those are there";
            MintError::credentials(
                format!("profile {name:?} names a role and no credentials to assume it with"),
                remedy,
            )
        })?;
        role::assume(self.sdk, source, &role, self.codes).await
    }

    async fn sdk_profile(&self, name: &str) -> Result<Credentials, CredentialsError> {
        let provider = ProfileFileCredentialsProvider::builder()
            .profile_name(name)
            .profile_files(self.sdk.files())
            .configure(&self.sdk.provider())
            .build();
        provider.provide_credentials().await
    }

    async fn web_identity(&self) -> Result<Credentials, MintError> {
        let Some(arn) = variable("AWS_ROLE_ARN") else {
            let cause = "AWS_WEB_IDENTITY_TOKEN_FILE is set and AWS_ROLE_ARN is not";
            return Err(MintError::credentials(cause, "set AWS_ROLE_ARN to the role the token is for"));
        };
        let file = variable("AWS_WEB_IDENTITY_TOKEN_FILE").unwrap_or_default();
        self.shown(&file, "AWS_WEB_IDENTITY_TOKEN_FILE", &arn, variable("AWS_ROLE_SESSION_NAME")).await
    }

    /// The credentials for the web identity token in a file, which `setting` names.
    async fn shown(
        &self,
        file: &str,
        setting: &str,
        arn: &str,
        session: Option<String>,
    ) -> Result<Credentials, MintError> {
        let token = fs::read_to_string(file).map_err(|error| {
            let remedy = format!("{setting} must name a readable file with a token in it: correct it, or unset it");
            MintError::credentials(format!("web identity token file {file}: {error}"), remedy)
        })?;
        let token = Secret::new(token.trim().to_owned());
        role::assume_with_web_identity(self.sdk, arn, session.as_deref().unwrap_or(role::SESSION_NAME), &token).await
    }

    async fn container(&self) -> Result<Credentials, MintError> {
        if let Some(path) = env::var_os("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE").filter(|path| !path.is_empty()) {
            fs::metadata(&path).map_err(|error| {
                let cause = format!("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE {}: {error}", path.display());
                let remedy = "correct or unset it; on EKS, start the pod anew once it has a pod identity association";
                MintError::credentials(cause, remedy)
            })?;
        }
        let provider = EcsCredentialsProvider::builder().configure(&self.sdk.local_provider()).build();
        provider.provide_credentials().await.map_err(|error| {
            let remedy = "check the task role (ECS) or the pod identity association (EKS), and the \
                          AWS_CONTAINER_CREDENTIALS_RELATIVE_URI or AWS_CONTAINER_CREDENTIALS_FULL_URI that was set for it";
            MintError { remedy: remedy.to_owned(), ..failure("the credentials of this container", &error, remedy) }
        })
    }

    async fn instance(&mut self) -> Result<Option<Credentials>, MintError> {
        if self.no_metadata || metadata::is_disabled() {
            return Ok(None);
        }
        match metadata::ask(&self.sdk.local_provider()).await? {
            metadata::Answer::Credentials(credentials) => Ok(Some(credentials)),
            metadata::Answer::NoRole => Ok(None),
            metadata::Answer::Absent => {
                self.no_metadata = true;
                Ok(None)
            }
        }
    }

    fn missing(&self, name: &str) -> MintError {
        let names: Vec<_> = self.profiles.names().into_iter().collect();
        let there = if names.is_empty() {
            "there are no profiles".to_owned()
        } else {
            format!("there are: {}", names.join(", "))
        };
        let remedy = format!("{there}; correct the name, or add it with: aws configure --profile {name}");
        MintError::credentials(format!("profile {name:?} is not in the AWS configuration"), remedy)
    }
}

/// Why a session of `aws login` gave no credentials.
fn login_failure(name: &str, error: &CredentialsError) -> MintError {
    let what = format!("the console sign-in of profile {name:?}");
    let run = if name == "default" { "run: aws login".to_owned() } else { format!("run: aws login --profile {name}") };
    let said = said(error);
    if said.contains("No such file") {
        return MintError::credentials(format!("profile {name:?} has no console sign-in on this machine"), run);
    }
    if said.contains("session has expired") {
        return MintError::credentials(format!("{what} expired"), run);
    }
    failure(&what, error, &run)
}

fn role_in(profile: &Profile) -> Role {
    let get = |key: &str| profile.get(key).filter(|value| !value.is_empty()).cloned();
    let duration = get("duration_seconds").and_then(|seconds| seconds.parse().ok());
    Role {
        arn: get("role_arn").unwrap_or_default(),
        external_id: get("external_id"),
        session_name: get("role_session_name"),
        duration: duration.map(std::time::Duration::from_secs),
        mfa: get("mfa_serial").map(|serial| Mfa { serial, command: get("mfa_process") }),
    }
}

/// A source's failure in words: an outage, or the source's own complaint.
fn failure(what: &str, error: &CredentialsError, remedy: &str) -> MintError {
    let said = said(error);
    if matches!(error, CredentialsError::ProviderTimedOut(_)) {
        return MintError::silent(format!("{what}: {said}"));
    }
    if is_dispatch_failure(error) {
        return of_network(what, error);
    }
    MintError::new(MintErrorKind::CredentialsFailed, format!("{what}: {said}"), remedy)
}
