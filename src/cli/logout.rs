//! `longshore logout`: forgets tokens, MFA sessions and failures.
//!
//! Touches nothing but the token store: what the AWS CLI keeps stays, and so does what the daemon has in memory.

use std::io::{self, Write as _};

use clap::{Args, builder::NonEmptyStringValueParser};

use super::{BoxError, place::Place};
use crate::credentials;

#[derive(Debug, Args)]
pub(super) struct Command {
    /// An ECR registry; without one everything in the token store is forgotten
    registry: Option<String>,
    /// The AWS profile, which beats the rules of the configuration
    #[arg(long, requires = "registry", value_parser = NonEmptyStringValueParser::new())]
    profile: Option<String>,
}

pub(super) fn run(command: &Command) -> Result<(), BoxError> {
    let place = Place::open()?;
    let tokens = &place.tokens;
    let (forgotten, is_daemons) = if let Some(name) = &command.registry {
        let asked = place.asked(name, command.profile.clone())?;
        let is_daemons = tokens.is_kept(&asked.wanted.key());
        credentials::forget(tokens, &asked.registry, &asked.wanted)?;
        let (wanted, identity) = (&asked.wanted, &asked.wanted.identity);
        (format!("the token for {wanted} as {identity}, its MFA session and its failures"), is_daemons)
    } else {
        // what cannot be listed can be deleted
        let kept = credentials::kept(tokens).unwrap_or_default();
        let is_daemons = kept.iter().any(|kept| tokens.is_kept(&kept.key));
        credentials::forget_all(tokens)?;
        ("all tokens, MFA sessions and failures".to_owned(), is_daemons)
    };
    let mut out = io::stdout().lock();
    writeln!(out, "forgotten: {forgotten}")?;
    if is_daemons {
        writeln!(out, "the daemon that runs keeps its own copy until it is restarted")?;
    }
    writeln!(out, "sign-ins of the AWS CLI stay; end them with: aws sso logout")?;
    Ok(())
}
