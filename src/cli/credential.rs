//! `longshore credential`: what `docker-credential-longshore` hands over when no token is at hand.
//!
//! The same protocol on the same streams; only here a token can be minted. Hidden: people use the other program.

use std::{io, process::ExitCode};

use clap::{Args, builder::NonEmptyStringValueParser};

use super::{BoxError, log};
use crate::{
    credentials::Selection,
    helper::{Call, mint, run as answer},
};

#[derive(Debug, Args)]
pub(super) struct Command {
    /// The AWS profile that is used for everything
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    profile: Option<String>,
    /// The verb of the protocol
    verb: String,
}

pub(super) fn run(command: Command) -> Result<ExitCode, BoxError> {
    log::start_if_asked()?;
    let call = Call::verb(command.verb, Selection { profile: command.profile });
    let code = answer(&call, &mut io::stdin(), &mut io::stdout(), &mut io::stderr(), mint)?;
    Ok(ExitCode::from(code))
}
