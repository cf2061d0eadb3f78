//! `longshore setup docker` and `longshore setup kubelet`.

use std::{
    env,
    io::{self, Write as _},
};

use clap::{Subcommand, builder::NonEmptyStringValueParser};

use super::BoxError;
use crate::{
    environment,
    setup::{Docker, Kubelet, Outcome},
};

/// The program that answers the kubelet, installed beside this one.
const HELPER: &str = "docker-credential-longshore";

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
    /// Print the configuration that makes a kubelet ask the credential helper
    Kubelet {
        /// Let the kubelet send tokens of the pods' service accounts, made for this audience (Kubernetes 1.34 or later)
        #[arg(long, value_name = "AUDIENCE", value_parser = NonEmptyStringValueParser::new())]
        service_account_tokens: Option<String>,
    },
}

pub(super) fn run(command: &Command) -> Result<(), BoxError> {
    match command {
        Command::Docker { registries, undo } => docker(registries, *undo),
        Command::Kubelet { service_account_tokens } => kubelet(service_account_tokens.as_deref()),
    }
}

fn kubelet(audience: Option<&str>) -> Result<(), BoxError> {
    let loaded = environment::load()?;
    let program = env::current_exe()?.with_file_name(HELPER);
    let kubelet = Kubelet { config: &loaded.config, file: loaded.file.as_deref(), program: &program, audience };
    write!(io::stdout().lock(), "{kubelet}")?;
    Ok(())
}

fn docker(registries: &[String], undo: bool) -> Result<(), BoxError> {
    let docker = Docker::find()?;
    let outcome = if undo { docker.undo()? } else { docker.wire(registries)? };
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
