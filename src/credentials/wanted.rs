//! Which token a registry needs: whose, and for what. The environment's forms, then the rules of the configuration, then
//! AWS's own ways.
//!
//! Reads the environment and the AWS configuration files; asks nobody.

use std::{
    env,
    ffi::{OsStr, OsString},
    fmt::{self, Write as _},
    fs,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

use crate::{
    config::{Config, IdentityRule, RegistryRule},
    ecr::{EcrRegistry, Identity, Mfa, Profiles, Role, SignInBy, TokenScope, key_among, source},
    oci::Registry,
    store::TokenKey,
};

/// The variables that choose the endpoint a token is for, or what is asked on the way to it.
const ENDPOINTS: [&str; 10] = [
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_ECR",
    "AWS_ENDPOINT_URL_ECR_PUBLIC",
    "AWS_ENDPOINT_URL_STS",
    "AWS_ENDPOINT_URL_SSO",
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
    "AWS_USE_FIPS_ENDPOINT",
    "AWS_USE_DUALSTACK_ENDPOINT",
    "AWS_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
];
/// The variables that choose an identity when no profile is named by the configuration.
const IDENTITIES: [&str; 14] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_ACCESS_KEY",
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_EC2_METADATA_DISABLED",
    "AWS_EC2_METADATA_SERVICE_ENDPOINT",
    "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE",
];
/// The variables that name the file of a web identity token.
const TOKEN_FILES: [&str; 2] = ["AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"];
/// Changes at each start of the machine; the roles of two machines that share a home must not be mixed up.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// What the caller chose beside the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// The profile in the program's own name, which beats every rule.
    pub profile: Option<String>,
}

/// How a registry is logged in to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// With what is not an ECR token, or with nothing: it is not a registry of ECR.
    Foreign,
    /// Without credentials, as the configuration says.
    Anonymous,
    /// With a token.
    Token(Box<Wanted>),
}

/// A token: whose, and for what.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Wanted {
    /// What it is good for.
    pub scope: TokenScope,
    /// With whose rights it is minted.
    pub identity: Identity,
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.scope.fmt(f)
    }
}

impl Wanted {
    /// The name of the token in the store: a digest of everything that decides whose it is.
    ///
    /// The id of an access key is part of it only where nothing else names the identity: in the environment and in
    /// profiles that hold keys.
    #[must_use]
    pub fn key(&self) -> TokenKey {
        TokenKey::new(&self.describe())
    }

    fn describe(&self) -> String {
        format!("2\n{:?}\n{}", self.scope, self.describe_identity())
    }

    /// Everything that decides whose token it is.
    pub(super) fn describe_identity(&self) -> String {
        let profiles = Profiles::read();
        let place = Place { variable: &|name| env::var_os(name), profiles: &profiles, boot: &boot() };
        let mut description = describe(&self.identity, &place);
        if let SignInBy::SignIn(sign_in) = source(&self.identity, &profiles) {
            // who signed out, or signed in anew after that, is somebody else
            description.push_str(&sign_in.registration().unwrap_or_default());
        }
        description
    }
}

/// What decides whose token it is beside the names of an identity.
struct Place<'a> {
    variable: &'a dyn Fn(&str) -> Option<OsString>,
    profiles: &'a Profiles,
    boot: &'a str,
}

fn describe(identity: &Identity, place: &Place<'_>) -> String {
    let variable = |name: &str| (place.variable)(name).filter(|value| !value.is_empty());
    let mut description = format!("{identity:?}\n");
    let mut add = |names: &[&str]| {
        for name in names {
            if let Some(value) = variable(name) {
                writeln!(description, "{name}={}", value.display()).expect("writing to a String cannot fail");
            }
        }
    };
    add(&ENDPOINTS);
    let profile = identity.profile.clone().unwrap_or_else(|| Profiles::selected().0);
    let sections = place.profiles.describe(&profile);
    // a profile of its own may lead back to the surroundings
    let is_surrounded = identity.profile.is_none() || sections.contains("] credential_source=");
    if is_surrounded {
        add(&IDENTITIES);
    }
    // keys go first, unless a profile of its own leads past them
    let text = |name: &str| variable(name)?.into_string().ok();
    let has_keys = identity.profile.is_none() && key_among(text).is_some();
    let files = TOKEN_FILES.map(|name| variable(name).filter(|_| is_surrounded));
    let in_profile = sections.lines().filter_map(|line| Some(line.split_once("] web_identity_token_file=")?.1.into()));
    for subject in files.into_iter().flatten().chain(in_profile).filter_map(|file| subject(&file)) {
        description.push_str(&subject);
    }
    if is_surrounded && !has_keys {
        // the role of the machine itself may be what is found
        description.push_str(place.boot);
    }
    description + &sections
}

/// For whom a web identity token is: its file has the same name in every pod, and its content changes by the hour.
fn subject(file: &OsStr) -> Option<String> {
    let token = fs::read_to_string(file).ok()?;
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let claims: serde_json::Value = serde_json::from_slice(&payload).ok()?;
    Some(format!("{} {}\n", claims["iss"], claims["sub"]))
}

/// What stays the same until the machine is started again; empty where the system does not say.
pub(super) fn boot() -> String {
    fs::read_to_string(BOOT_ID).unwrap_or_default()
}

/// The rule of the configuration for `registry`, which may be meant by its name or by its AWS account.
#[must_use]
pub fn rule<'c>(config: &'c Config, registry: &Registry) -> Option<&'c RegistryRule> {
    let account = EcrRegistry::parse(registry.host()).and_then(|ecr| ecr.account);
    config.rule(registry, account.as_deref())
}

/// How `registry` is logged in to.
#[must_use]
pub fn way(config: &Config, registry: &Registry, selection: &Selection) -> Way {
    let own = rule(config, registry);
    if own.is_some_and(|rule| rule.username.is_some()) {
        return Way::Foreign;
    }
    let meant = own.and_then(|rule| rule.alias.as_ref()).unwrap_or(registry);
    let Some(ecr) = EcrRegistry::parse(meant.host()) else { return Way::Foreign };
    // the rule of the name that was used, unless it only says what the name stands for
    let identity = own.map(|rule| &rule.identity).filter(|identity| **identity != IdentityRule::default());
    let identity = identity.or_else(|| rule(config, meant).map(|rule| &rule.identity));
    let none = IdentityRule::default();
    let identity = identity.unwrap_or(&none);
    if identity.anonymous {
        return Way::Anonymous;
    }
    Way::Token(Box::new(wanted(ecr, identity, selection)))
}

fn wanted(ecr: EcrRegistry, own: &IdentityRule, selection: &Selection) -> Wanted {
    let EcrRegistry { account, mut scope } = ecr;
    if let Some(region) = &own.region {
        scope.region.clone_from(region);
    }
    let endpoint_url = own.endpoint_url.clone();
    if let Some(profile) = selection.profile.clone() {
        return Wanted { scope, identity: Identity { profile: Some(profile), endpoint_url, ..Identity::default() } };
    }
    let of_account = |name: &str| {
        let variable = format!("{name}_{}", account.as_deref()?);
        env::var(variable).ok().filter(|value| !value.is_empty())
    };
    let profile = of_account("AWS_PROFILE").or_else(|| own.profile.clone());
    let mfa = own.mfa_serial.clone().map(|serial| Mfa { serial, command: own.mfa_command.clone() });
    let fill = |text: String| {
        text.replace("{account}", account.as_deref().unwrap_or_default()).replace("{region}", &scope.region)
    };
    let role_arn = of_account("AWS_ROLE_ARN").or_else(|| own.role_arn.clone());
    let role = role_arn.map(|text| Role {
        arn: fill(text),
        external_id: own.external_id.clone(),
        session_name: own.session_name.clone(),
        duration: own.duration,
        mfa: mfa.clone(),
    });
    let mfa = mfa.filter(|_| role.is_none());
    Wanted { scope, identity: Identity { profile, role, mfa, endpoint_url } }
}

#[cfg(test)]
mod key_tests;
#[cfg(test)]
mod tests;
