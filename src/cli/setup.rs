//! `longshore setup docker`.

use std::io::{self, Write as _};

use clap::Subcommand;

use super::BoxError;
use crate::setup::{Docker, Outcome};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make the docker CLI ask the credential helper for ECR registries
    Docker {
        /// An ECR registry, such as 123456789012.dkr.ecr.eu-west-1.amazonaws.com; can be given several times
        #[arg(long = "registry", value_name = "HOST")]
        registries: Vec<String>,
        /// Take the entries out again
        #[arg(long, conflicts_with = "registries")]
        undo: bool,
    },
}

pub(super) fn run(command: &Command) -> Result<(), BoxError> {
    let Command::Docker { registries, undo } = command;
    let docker = Docker::find()?;
    let outcome = if *undo { docker.undo()? } else { docker.wire(registries)? };
    let path = docker.path().display();
    let mut out = io::stdout().lock();
    match outcome {
        Outcome::Unchanged => writeln!(out, "{path}: nothing to change")?,
        Outcome::Wired(hosts) => writeln!(out, "{path}: docker asks longshore for {}", hosts.join(", "))?,
        Outcome::Restored => writeln!(out, "{path}: as it was before")?,
        Outcome::Removed => writeln!(out, "{path}: the entries of longshore are out, later changes stay")?,
    }
    Ok(())
}
