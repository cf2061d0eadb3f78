//! What the sources of AWS credentials look like from outside, in the order in which `sources` asks them.
//!
//! Asks nobody and runs nothing: it reads the environment and the AWS configuration files. Secrets are never shown, ids of
//! access keys only in part.

use std::time::SystemTime;

use super::{
    Identity, Profiles, SignIn, is_ec2,
    keys::{self, abbreviated},
    metadata,
    order::{self, Way},
    profiles::Profile,
    sources::LONGEST_CHAIN,
    sso::sso_gap,
    variable::variable,
    words,
};

const KEYS: &str = "AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN";

/// One source of credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Which one, for programs: `environment`, `web-identity`, `profile`, `container`, `instance`.
    pub name: &'static str,
    /// What was found there.
    pub found: String,
    /// Its part in the search.
    pub standing: Standing,
}

/// The part of a source in the search for credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is the one that is asked.
    Used,
    /// There is nothing in it.
    Absent,
    /// Only asking would tell, and asking happens when nothing else has any.
    Unknown,
    /// It would do, but another one comes first.
    Reserve,
    /// Somebody chose it, and it is not asked because another one comes first.
    Shadowed {
        /// What lets it be asked.
        remedy: String,
    },
    /// It is the one that is asked, and it cannot answer.
    Broken {
        /// What mends it.
        remedy: String,
    },
}

/// Something in a source, before its turn is known.
struct Found {
    what: String,
    /// Whether somebody asked for this source by its name.
    is_chosen: bool,
    /// What mends it, if it cannot work.
    broken: Option<String>,
}

impl Found {
    fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), is_chosen: false, broken: None }
    }

    fn broken(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { broken: Some(remedy.into()), ..Self::new(what) }
    }
}

/// The sources that are asked for `identity`, in order.
#[must_use]
pub fn survey(identity: &Identity) -> Vec<Source> {
    let profiles = Profiles::read();
    if let Some(name) = &identity.profile {
        let found = unreadable(&profiles).or_else(|| profile(&profiles, name, 0));
        let found = found.unwrap_or_else(|| says_nothing(&profiles, name));
        return vec![source("profile", found, None)];
    }
    let mut sources = Vec::new();
    let mut first = None;
    let all = [
        ("environment", environment()),
        ("web-identity", web_identity()),
        ("profile", selected(&profiles)),
        ("container", container()),
        ("instance", instance()),
    ];
    for (name, found) in all {
        let Some(found) = found else {
            let is_asked = name == "instance" && first.is_none() && !metadata::is_disabled();
            let standing = if is_asked { Standing::Unknown } else { Standing::Absent };
            sources.push(Source { name, found: nothing(name), standing });
            continue;
        };
        sources.push(source(name, found, first));
        first = first.or(Some(name));
    }
    sources
}

fn source(name: &'static str, found: Found, first: Option<&'static str>) -> Source {
    let standing = match (first, found.broken) {
        (None, Some(remedy)) => Standing::Broken { remedy },
        (None, None) => Standing::Used,
        (Some(first), _) if found.is_chosen => Standing::Shadowed { remedy: unshadow(first) },
        _ => Standing::Reserve,
    };
    Source { name, found: found.what, standing }
}

/// How the source that comes first is taken away.
fn unshadow(first: &str) -> String {
    match first {
        "environment" => format!("unset {KEYS}"),
        _ => "unset AWS_WEB_IDENTITY_TOKEN_FILE".to_owned(),
    }
}

fn nothing(name: &str) -> String {
    match name {
        "environment" => "AWS_ACCESS_KEY_ID is not set".to_owned(),
        "web-identity" => "AWS_WEB_IDENTITY_TOKEN_FILE is not set".to_owned(),
        "profile" => "there is no default profile with credentials, and AWS_PROFILE is not set".to_owned(),
        "container" => "AWS_CONTAINER_CREDENTIALS_* is not set".to_owned(),
        _ if metadata::is_disabled() => "switched off by AWS_EC2_METADATA_DISABLED".to_owned(),
        _ => "this is no EC2 instance by its firmware; asked last, for a second, unless nobody answered lately"
            .to_owned(),
    }
}

fn environment() -> Option<Found> {
    let (name, id, has_secret) = keys::seen_in_environment()?;
    let what = format!("{name}={}", abbreviated(&id));
    let has_session = variable("AWS_SESSION_TOKEN").is_some();
    Some(if !has_secret {
        Found::broken(format!("{what} without AWS_SECRET_ACCESS_KEY"), format!("unset {name}"))
    } else if id.starts_with("ASIA") && !has_session {
        Found::broken(
            format!("{what} is a session's key, and AWS_SESSION_TOKEN is not set"),
            format!("set AWS_SESSION_TOKEN as well, or: unset {KEYS}"),
        )
    } else if id.starts_with("AKIA") && has_session {
        let what = format!("{what} has no session, and AWS_SESSION_TOKEN is set: it is another key's");
        Found::broken(what, "unset AWS_SESSION_TOKEN")
    } else {
        Found::new(what)
    })
}

fn web_identity() -> Option<Found> {
    let file = variable("AWS_WEB_IDENTITY_TOKEN_FILE")?;
    let Some(role) = variable("AWS_ROLE_ARN") else {
        let remedy = "set AWS_ROLE_ARN to the role the token is for";
        return Some(Found::broken(format!("the token in {file}, without AWS_ROLE_ARN"), remedy));
    };
    let what = format!("role {role} with the token in {file}");
    Some(match std::fs::File::open(&file) {
        Ok(_) => Found::new(what),
        Err(error) => Found::broken(format!("{what}: {error}"), format!("make {file} readable for this user")),
    })
}

/// The profile that the environment selects.
fn selected(profiles: &Profiles) -> Option<Found> {
    let (name, is_named) = Profiles::selected();
    if let Some(found) = unreadable(profiles) {
        return Some(Found { is_chosen: is_named, ..found });
    }
    let found = profile(profiles, &name, 0);
    let found = if is_named { found.or_else(|| Some(says_nothing(profiles, &name))) } else { found };
    found.map(|found| Found {
        what: if is_named { format!("AWS_PROFILE={name}: {}", found.what) } else { found.what },
        is_chosen: is_named,
        ..found
    })
}

/// A file that is there and cannot be read, which may hold what is looked for.
fn unreadable(profiles: &Profiles) -> Option<Found> {
    profiles.check().err().map(|error| Found::broken(error.cause, error.remedy))
}

fn says_nothing(profiles: &Profiles, name: &str) -> Found {
    let Some(place) = profiles.place("profile", name) else {
        let names: Vec<_> = profiles.names().into_iter().collect();
        let there = if names.is_empty() { "there are none".to_owned() } else { format!("there: {}", names.join(", ")) };
        return Found::broken(
            format!("profile {name:?} is not in the AWS configuration ({there})"),
            format!("aws configure --profile {name}"),
        );
    };
    Found::broken(
        format!("profile {name:?} ({place}) says nothing about credentials"),
        format!("aws configure --profile {name}"),
    )
}

/// What a profile says about credentials; `None` when it says nothing.
fn profile(profiles: &Profiles, name: &str, depth: usize) -> Option<Found> {
    let own = profiles.profile(name)?;
    let place = profiles.place("profile", name).unwrap_or_default();
    let get = |key: &str| own.get(key).filter(|value| !value.is_empty());
    let is = |words: String| format!("profile {name:?} ({place}): {words}");
    if depth > LONGEST_CHAIN {
        let remedy = format!("correct source_profile in {place}: a chain of profiles must end");
        return Some(Found::broken(is("leads back to itself".to_owned()), remedy));
    }
    let said = |key: &str| get(key).map(String::as_str).unwrap_or_default();
    let role = said("role_arn");
    Some(match order::way(&own)? {
        Way::WebIdentity => {
            Found::new(is(format!("role {role} with the token in {}", said("web_identity_token_file"))))
        }
        Way::Role => {
            let device = get("mfa_serial").map(|serial| format!(", with a code of {serial}")).unwrap_or_default();
            let source = role_source(profiles, name, &own, depth);
            let what = is(format!("role {role}{device}, assumed with {}", source.what));
            Found { what, ..source }
        }
        Way::SignIn => match (SignIn::of(profiles, name, &own), sso_gap(profiles, name, &own)) {
            (Some(sign_in), None) => {
                signed_in(&sign_in, &is(format!("account {}, {}", said("sso_account_id"), sign_in.name())))
            }
            (_, Some(gap)) => Found::broken(gap.cause, gap.remedy),
            (None, None) => return None,
        },
        Way::Console => Found::new(is("a session of `aws login`".to_owned())),
        Way::Key => Found::new(is(format!("access key {}", abbreviated(said("aws_access_key_id"))))),
        Way::Process => {
            // what follows may hold what is nobody's business
            let program = said("credential_process").split_whitespace().next().unwrap_or_default();
            Found::new(is(format!("credential_process {program}")))
        }
        Way::HalfOfAKey => {
            let remedy = format!("aws configure --profile {name}");
            Found::broken(is("one half of an access key".to_owned()), remedy)
        }
    })
}

/// With what a profile's role is assumed.
fn role_source(profiles: &Profiles, name: &str, own: &Profile, depth: usize) -> Found {
    match (own.get("source_profile"), own.get("credential_source")) {
        (Some(source), _) if source == name => keys_of_its_own(name, own),
        (Some(source), _) => profile(profiles, source, depth + 1).unwrap_or_else(|| says_nothing(profiles, source)),
        (None, Some(source)) => Found::new(format!("credential_source {source}")),
        (None, None) => keys_of_its_own(name, own),
    }
}

fn keys_of_its_own(name: &str, own: &Profile) -> Found {
    match own.get("aws_access_key_id") {
        Some(id) => Found::new(format!("access key {}", abbreviated(id))),
        None => Found::broken("nothing", format!("aws configure set source_profile NAME --profile {name}")),
    }
}

/// Where a sign-in stands. One that has a way to be renewed is renewed by whoever uses it.
fn signed_in(sign_in: &SignIn, what: &str) -> Found {
    let now = SystemTime::now();
    match sign_in.expires_at() {
        None => Found::broken(format!("{what}: nobody signed in on this machine"), sign_in.command()),
        Some(end) => match end.duration_since(now) {
            Ok(left) => Found::new(format!("{what}: signed in, for {} more", words(left))),
            Err(over) if sign_in.is_renewable() => {
                let ago = words(over.duration());
                Found::new(format!("{what}: the sign-in ended {ago} ago and renews itself when it is used"))
            }
            Err(over) => {
                Found::broken(format!("{what}: the sign-in ended {} ago", words(over.duration())), sign_in.command())
            }
        },
    }
}

fn container() -> Option<Found> {
    let variables = ["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI"];
    let name = variables.into_iter().find(|name| variable(name).is_some())?;
    Some(Found::new(format!("{name} is set: ECS or EKS Pod Identity")))
}

fn instance() -> Option<Found> {
    (!metadata::is_disabled() && is_ec2()).then(|| Found::new("the role of this EC2 instance, if it has one"))
}
