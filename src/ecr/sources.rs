//! Where credentials come from, in the order of the AWS CLI and the Go SDK: environment, web identity, profile, container,
//! instance.
//!
//! A profile that is named by the configuration, or by the program's name, is asked alone. Roles are assumed by `role`.

use std::env;

use aws_config::{
    ecs::EcsCredentialsProvider, environment::EnvironmentVariableCredentialsProvider,
    profile::ProfileFileCredentialsProvider, web_identity_token::WebIdentityTokenCredentialsProvider,
};
use aws_credential_types::{
    Credentials,
    provider::{ProvideCredentials, error::CredentialsError},
};

use super::{
    Identity, Mfa, Profiles, Role,
    failure::{MintError, MintErrorKind, of_answer_of_sts, of_network},
    metadata, process,
    profiles::Profile,
    role::{self, Codes},
    sdk::Sdk,
    sso::SignIn,
};
use crate::chain::chain;

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
        if let Some(mfa) = mfa {
            if let Some(credentials) = self.codes.session_for(&role::what(identity.role.as_ref(), mfa)) {
                return Ok(credentials);
            }
            role::check_code(identity.role.as_ref(), Some(mfa), self.codes)?;
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
        if let Some(credentials) = environment().await? {
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
        let Some(profile) = self.profiles.profile(name) else {
            return if name == "default" && depth == 0 { Ok(None) } else { Err(self.missing(name)) };
        };
        if depth > LONGEST_CHAIN {
            let remedy = "correct source_profile: a chain of profiles must end at one with credentials of its own";
            return Err(MintError::credentials(format!("profile {name:?} leads back to itself"), remedy));
        }
        let has = |key: &str| profile.get(key).is_some_and(|value| !value.is_empty());
        if has("role_arn") && !has("web_identity_token_file") {
            return Box::pin(self.role_of(name, &profile, depth)).await.map(Some);
        }
        if let Some(sign_in) = SignIn::of(self.profiles, name, &profile).filter(|_| has("sso_account_id")) {
            let found = self.sdk_profile(name).await;
            return found.map(Some).map_err(|error| sign_in.failure(&error));
        }
        if has("login_session") {
            let found = self.sdk_profile(name).await;
            return found.map(Some).map_err(|error| {
                let run = if name == "default" {
                    "run: aws login".to_owned()
                } else {
                    format!("run: aws login --profile {name}")
                };
                failure(&format!("the console sign-in of profile {name:?}"), &error, &run)
            });
        }
        if has("role_arn") {
            let found = self.sdk_profile(name).await;
            let what = format!("the web identity of profile {name:?}");
            return found.map(Some).map_err(|error| failure(&what, &error, WEB_IDENTITY));
        }
        if let Some(command) = profile.get("credential_process") {
            return process::credentials(name, command).await.map(Some);
        }
        static_keys(name, &profile)
    }

    /// The role of a profile, assumed with the rights of the profile or source it names.
    async fn role_of(&mut self, name: &str, profile: &Profile, depth: usize) -> Result<Credentials, MintError> {
        let role = role_in(profile);
        if let Some(mfa) = &role.mfa {
            if let Some(credentials) = self.codes.session_for(&role::what(Some(&role), mfa)) {
                return Ok(credentials);
            }
            role::check_code(Some(&role), Some(mfa), self.codes)?;
        }
        let source = match (profile.get("source_profile"), profile.get("credential_source")) {
            (Some(source), _) if source == name => static_keys(name, profile)?,
            (Some(source), _) => self.profile(source, depth + 1).await?,
            (None, Some(source)) => match source.to_ascii_lowercase().as_str() {
                "environment" => environment().await?,
                "ec2instancemetadata" => self.instance().await?,
                "ecscontainer" => Some(self.container().await?),
                _ => None,
            },
            (None, None) => static_keys(name, profile)?,
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
        let provider =
            ProfileFileCredentialsProvider::builder().profile_name(name).configure(&self.sdk.provider()).build();
        provider.provide_credentials().await
    }

    async fn web_identity(&self) -> Result<Credentials, MintError> {
        let file = env::var("AWS_WEB_IDENTITY_TOKEN_FILE").unwrap_or_default();
        if !is_set("AWS_ROLE_ARN") {
            let cause = "AWS_WEB_IDENTITY_TOKEN_FILE is set and AWS_ROLE_ARN is not";
            return Err(MintError::credentials(cause, "set AWS_ROLE_ARN to the role the token is for"));
        }
        let provider = WebIdentityTokenCredentialsProvider::builder().configure(&self.sdk.provider()).build();
        let found = provider.provide_credentials().await;
        found.map_err(|error| failure(&format!("the web identity token in {file}"), &error, WEB_IDENTITY))
    }

    async fn container(&self) -> Result<Credentials, MintError> {
        let provider = EcsCredentialsProvider::builder().configure(&self.sdk.local_provider()).build();
        let remedy = "check the task role (ECS) or the pod identity association (EKS), and AWS_CONTAINER_CREDENTIALS_*";
        let found = provider.provide_credentials().await;
        found.map_err(|error| failure("the credentials of this container", &error, remedy))
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
        let there =
            if names.is_empty() { "there are none".to_owned() } else { format!("there are: {}", names.join(", ")) };
        let remedy = format!("{there}; add it with: aws configure --profile {name}");
        MintError::credentials(format!("profile {name:?} is not in the AWS configuration"), remedy)
    }
}

const WEB_IDENTITY: &str = "the token's file must be readable and fresh, and the role must trust its issuer";

pub(super) fn is_set(name: &str) -> bool {
    env::var_os(name).is_some_and(|value| !value.is_empty())
}

async fn environment() -> Result<Option<Credentials>, MintError> {
    // an empty variable is one that is not set, for the CLI and for us
    if !is_set("AWS_ACCESS_KEY_ID") {
        return Ok(None);
    }
    let found = EnvironmentVariableCredentialsProvider::new().provide_credentials().await;
    let remedy = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_SESSION_TOKEN for a session) together";
    found.map(Some).map_err(|error| failure("the keys in the environment", &error, remedy))
}

fn static_keys(name: &str, profile: &Profile) -> Result<Option<Credentials>, MintError> {
    match (profile.get("aws_access_key_id"), profile.get("aws_secret_access_key")) {
        (Some(id), Some(secret)) => {
            let token = profile.get("aws_session_token").cloned();
            Ok(Some(Credentials::new(id, secret, token, None, "profile")))
        }
        (None, None) => Ok(None),
        _ => {
            let remedy = format!("write both again with: aws configure --profile {name}");
            Err(MintError::credentials(format!("profile {name:?} has one half of an access key"), remedy))
        }
    }
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

/// A source's failure in words: an outage, an answer of STS, or the source's own complaint.
fn failure(what: &str, error: &CredentialsError, remedy: &str) -> MintError {
    let said = chain(error);
    if matches!(error, CredentialsError::ProviderTimedOut(_)) {
        return MintError::silent(format!("{what}: {said}"));
    }
    if said.contains("dispatch failure") {
        return of_network(what, error);
    }
    if let Some(known) = of_answer_of_sts(error) {
        return known;
    }
    MintError::new(MintErrorKind::CredentialsFailed, format!("{what}: {said}"), remedy)
}
