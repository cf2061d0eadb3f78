//! `longshore doctor [registry]`: prints what the doctor found, and sets the exit code by it.
//!
//! 0: nothing is wrong, 1: something is, 2: there was nothing to examine with or about.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use clap::Args;

use super::BoxError;
use crate::{
    oci::{Registry, server_address},
    setup::doctor::{Examination, Finding, State, Subject},
};

const PROBLEMS: u8 = 1;
const NOT_EXAMINED: u8 = 2;
const WORKERS: usize = 6;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// A registry, such as 123456789012.dkr.ecr.eu-west-1.amazonaws.com; without it, those docker's configuration names
    #[arg(value_name = "REGISTRY", value_parser = registry)]
    registry: Option<Registry>,
    /// Print the findings as a JSON array
    #[arg(long)]
    json: bool,
    /// Leave AWS alone: no endpoint is tried and no token minted
    #[arg(long)]
    offline: bool,
}

/// A registry as people have it at hand: with a scheme or a repository, perhaps.
fn registry(text: &str) -> Result<Registry, String> {
    let (host, port) = server_address(text);
    port.map_or(host.clone(), |port| format!("{host}:{port}"))
        .parse()
        .map_err(|_| format!("write a host, such as {}", "123456789012.dkr.ecr.eu-west-1.amazonaws.com"))
}

pub(super) fn run(arguments: Arguments) -> ExitCode {
    match examine(arguments) {
        Ok(code) => code,
        Err(error) => {
            // where would the failure to write it be written?
            let _ = writeln!(io::stderr(), "longshore: {error}");
            ExitCode::from(NOT_EXAMINED)
        }
    }
}

fn examine(arguments: Arguments) -> Result<ExitCode, BoxError> {
    // more than the checks that could block one
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build()?;
    let examination = Examination { registry: arguments.registry, is_offline: arguments.offline };
    let findings = runtime.block_on(examination.run());
    // what hangs in a thread must not hold this one back
    runtime.shutdown_background();
    let mut out = io::stdout().lock();
    if arguments.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&findings)?)?;
    } else {
        print(&findings, &mut out)?;
    }
    let has_problems = findings.iter().any(|finding| finding.state == State::Problem);
    Ok(if has_problems { ExitCode::from(PROBLEMS) } else { ExitCode::SUCCESS })
}

fn print(findings: &[Finding], out: &mut dyn io::Write) -> io::Result<()> {
    let mut subject = None;
    for finding in findings {
        if subject.replace(finding.subject) != Some(finding.subject) {
            writeln!(out, "{}", heading(finding.subject))?;
        }
        let mark = match finding.state {
            State::Ok => "ok",
            State::Warning => "warn",
            State::Problem => "FAIL",
            State::Skipped => "-",
        };
        writeln!(out, "  {mark:<4}  {}: {}", finding.title, finding.found)?;
        if let Some(remedy) = &finding.remedy {
            writeln!(out, "        do: {remedy}")?;
        }
    }
    let count = |state| findings.iter().filter(|finding| finding.state == state).count();
    let (problems, warnings) = (count(State::Problem), count(State::Warning));
    let plural = |count| if count == 1 { "" } else { "s" };
    let rest = format!("{} ok, {} skipped", count(State::Ok), count(State::Skipped));
    writeln!(out, "{problems} problem{}, {warnings} warning{}, {rest}", plural(problems), plural(warnings))
}

fn heading(subject: Subject) -> &'static str {
    match subject {
        Subject::Configuration => "Longshore's own",
        Subject::Environment => "environment",
        Subject::Docker => "docker",
        Subject::Podman => "podman, buildah, skopeo",
        Subject::Containerd => "containerd, dockerd",
        Subject::Credentials => "AWS credentials",
        Subject::Endpoint => "ECR API",
        Subject::Token => "tokens",
        Subject::Daemon => "daemon",
    }
}
