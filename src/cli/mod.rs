//! The command line of `longshore`: one file for each subcommand.
//!
//! Composes the layers below; decides nothing they could decide. Problems go to stderr with their causes.

mod cache;
mod config;
mod credential;
mod doctor;
mod lines;
mod log;
mod login;
mod logout;
mod place;
mod serve;
mod setup;
mod token;
mod tokens;
mod warm;

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use clap::{Parser, Subcommand};

use crate::{chain::chain, helper::kubelet};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A pull-through cache for Amazon ECR and other registries, and what is needed to set it up.
#[derive(Debug, Parser)]
#[command(name = "longshore", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon: serve pulls from the cache until a signal stops it
    Serve,
    /// Look at the configuration
    #[command(subcommand)]
    Config(config::Command),
    /// Write the configuration of clients, or undo it
    #[command(subcommand)]
    Setup(setup::Command),
    /// Answer Docker's credential helper protocol, minting if need be
    #[command(hide = true)]
    Credential(credential::Command),
    /// Answer one request of the kubelet, from standard input
    #[command(hide = true)]
    KubeletCredentialProvider {
        /// What the provider's args in the kubelet's configuration say; it changes nothing
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        _arguments: Vec<std::ffi::OsString>,
    },
    /// Print a registry's password, for programs that take one
    Token(token::Command),
    /// List the tokens that are cached, for whom and until when
    Tokens(tokens::Command),
    /// Make credentials work now: sign in to IAM Identity Center or ask for an MFA code where needed, and mint a token
    Login(login::Command),
    /// Forget cached tokens, MFA sessions and failures
    Logout(logout::Command),
    /// Pull images into the cache, by name or as a compose file, Kubernetes manifest, task definition or Dockerrun names them
    Warm(warm::Command),
    /// See what is in the cache, and look after it
    #[command(subcommand)]
    Cache(cache::Command),
    /// Look for what is wrong, and say what mends it
    Doctor(doctor::Arguments),
}

/// Runs the program with the process's own arguments.
#[must_use]
pub fn run() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Serve => serve::run(),
        Command::Config(command) => config::run(&command),
        Command::Setup(command) => setup::run(&command),
        Command::Credential(command) => return end(credential::run(command)),
        Command::KubeletCredentialProvider { .. } => {
            let code = kubelet::run(&mut io::stdin(), &mut io::stdout(), &mut io::stderr());
            return code.map_or(ExitCode::FAILURE, ExitCode::from);
        }
        Command::Token(command) => token::run(&command),
        Command::Tokens(command) => tokens::run(&command),
        Command::Login(command) => login::run(&command),
        Command::Logout(command) => logout::run(&command),
        Command::Warm(command) => return end(warm::run(&command)),
        Command::Cache(command) => return end(cache::run(&command)),
        Command::Doctor(arguments) => return doctor::run(arguments),
    };
    end(outcome.map(|()| ExitCode::SUCCESS))
}

fn end(outcome: Result<ExitCode, BoxError>) -> ExitCode {
    match outcome {
        Ok(code) => code,
        // who reads only the beginning has what is wanted
        Err(error) if is_broken_pipe(&*error) => ExitCode::SUCCESS,
        Err(error) => {
            // where would the failure to write it be written?
            let _ = writeln!(io::stderr(), "longshore: {}", chain(&*error));
            if let Some(problem) = error.downcast_ref::<place::Problem>() {
                let _ = writeln!(io::stderr(), "longshore: {}", problem.remedy);
            }
            ExitCode::FAILURE
        }
    }
}

fn is_broken_pipe(error: &(dyn std::error::Error + 'static)) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
