//! `longshore token`: a registry's password, for programs that take one.
//!
//! Prints a secret on standard output, which is what it is for; on failure nothing is printed there.

use std::{
    io::{self, Write as _},
    sync::Arc,
};

use clap::{Args, ValueEnum, builder::NonEmptyStringValueParser};
use serde_json::json;

use super::{
    BoxError,
    place::{Asked, Place, Problem, time},
};
use crate::{
    credentials::{self, AtHand, Credentials, Demand, run_to_end},
    ecr::AuthorizationToken,
    secret::Secret,
};

#[derive(Debug, Args)]
pub(super) struct Command {
    /// An ECR registry, such as 123456789012.dkr.ecr.eu-west-1.amazonaws.com
    registry: String,
    /// What to print
    #[arg(long, value_enum, default_value_t = Format::Password)]
    format: Format,
    /// The AWS profile, which beats the rules of the configuration
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    profile: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// The bare password, for: docker login --username AWS --password-stdin HOST
    Password,
    /// A docker configuration with this one registry
    DockerConfig,
    /// The password with its user, times and identity
    Json,
    /// A header line, for: curl -H @-
    Header,
}

pub(super) fn run(command: &Command) -> Result<(), BoxError> {
    let place = Place::open()?;
    let asked = place.asked(&command.registry, command.profile.clone())?;
    let token = token(place, &asked)?;
    let text = text(command.format, &asked, &token)?;
    writeln!(io::stdout().lock(), "{}", text.expose())?;
    Ok(())
}

/// The token at hand, else a new one.
fn token(place: Place, asked: &Asked) -> Result<AuthorizationToken, BoxError> {
    match credentials::at_hand(&place.tokens, &asked.wanted)? {
        AtHand::Token(token) => return Ok(token),
        AtHand::Failure(error) => return Err(Problem::from(&error).into()),
        AtHand::Nothing => {}
    }
    let credentials = Credentials::new(Arc::new(place.config), place.tokens).interactive();
    let minted = run_to_end(credentials.token(asked.wanted.clone(), Some(&asked.registry), Demand::Usual))?;
    Ok(minted.map_err(|error| Problem::from(&*error))?)
}

fn text(format: Format, asked: &Asked, token: &AuthorizationToken) -> Result<Secret, Problem> {
    let Some((user, password)) = token.user_and_password() else {
        return Err(Problem::new("the authorization token is not base64 of user:password", "run: longshore logout"));
    };
    let (registry, basic) = (asked.registry.as_str(), token.basic.expose());
    Ok(match format {
        Format::Password => password,
        Format::Header => Secret::new(format!("Authorization: Basic {basic}")),
        Format::DockerConfig => Secret::new(json!({ "auths": { registry: { "auth": basic } } }).to_string()),
        Format::Json => {
            let document = json!({
                "registry": registry,
                "username": user,
                "password": password.expose(),
                "expires_at": time(token.expires_at),
                "refresh_at": time(token.refresh_at),
                "identity": asked.wanted.identity.to_string(),
                "region": asked.wanted.scope.region,
            });
            Secret::new(document.to_string())
        }
    })
}
