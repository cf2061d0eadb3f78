//! What the commands about tokens have in common: the configuration, the token store, and what a registry needs.
//!
//! Asks nobody: which token is wanted is read, never tried.

use std::time::SystemTime;

use crate::{
    chain::chain,
    config::Config,
    credentials::{self, Selection, Wanted, Whose, whose},
    ecr::words,
    environment,
    oci::{Registry, server_host},
    store::TokenStore,
};
use jiff::Timestamp;

/// What went wrong, and what a person can do about it.
#[derive(Debug, thiserror::Error)]
#[error("{cause}")]
pub(super) struct Problem {
    cause: String,
    pub(super) remedy: String,
}

impl Problem {
    pub(super) fn new(cause: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { cause: cause.into(), remedy: remedy.into() }
    }
}

impl From<&credentials::Error> for Problem {
    fn from(error: &credentials::Error) -> Self {
        Self::new(chain(error), error.remedy())
    }
}

/// The configuration and the token store.
pub(super) struct Place {
    pub(super) config: Config,
    pub(super) tokens: TokenStore,
}

/// A registry and the token it needs.
pub(super) struct Asked {
    pub(super) registry: Registry,
    pub(super) wanted: Wanted,
}

impl Place {
    pub(super) fn open() -> Result<Self, Problem> {
        let loaded = environment::load().map_err(|error| Problem::new(chain(&error), error.remedy()))?;
        let tokens = credentials::token_store(&loaded.config);
        Ok(Self { config: loaded.config, tokens })
    }

    /// The token that the registry called `name` needs.
    pub(super) fn asked(&self, name: &str, profile: Option<String>) -> Result<Asked, Problem> {
        let host = server_host(name);
        let example = "give the host of an ECR registry, such as 123456789012.dkr.ecr.us-east-1.amazonaws.com";
        host.parse::<Registry>().map_err(|error| Problem::new(chain(&error), example))?;
        match whose(&self.config, name, &Selection { profile }) {
            Whose::Ecr(registry, wanted) => Ok(Asked { registry, wanted: *wanted }),
            Whose::Nobody => {
                let cause = format!("{host} is used without credentials, as the configuration says");
                let remedy = "take anonymous = true out of its [[registry]] table; the daemon's own address stands for \
                              default_registry, if there is one";
                Err(Problem::new(cause, remedy))
            }
            Whose::Foreign => {
                let remedy = format!(
                    "{example}; for another \
                     name of one add a [[registry]] table with match and alias; others have their own: docker login {host}"
                );
                Err(Problem::new(format!("{host} is not an Amazon ECR registry"), remedy))
            }
        }
    }

    /// Whether this program can keep anything.
    pub(super) fn keeps(&self) -> bool {
        self.tokens.keeps()
    }
}

/// A time as RFC 3339, to the second.
pub(super) fn time(time: SystemTime) -> String {
    Timestamp::try_from(time).map(|time| format!("{time:.0}")).unwrap_or_default()
}

/// A time as RFC 3339, and how far it is from `now`.
pub(super) fn near(at: SystemTime, now: SystemTime) -> String {
    let distance = match (at.duration_since(now), now.duration_since(at)) {
        (Ok(ahead), _) => format!("in {}", words(ahead)),
        (_, Ok(ago)) => format!("{} ago", words(ago)),
        _ => String::new(),
    };
    format!("{} ({distance})", time(at))
}

#[test]
fn a_time_is_said_with_its_distance() {
    let (at, hour) = (SystemTime::UNIX_EPOCH, std::time::Duration::from_hours(1));
    assert_eq!(near(at + 5 * hour, at), "1970-01-01T05:00:00Z (in 5 h)");
    assert_eq!(near(at, at + hour), "1970-01-01T00:00:00Z (1 h ago)");
}
