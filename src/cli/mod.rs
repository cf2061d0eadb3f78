//! The command line of `longshore`: one file for each subcommand.
//!
//! Composes the layers below; decides nothing they could decide. Problems go to stderr with their causes.

mod config;
mod doctor;
mod log;
mod serve;
mod setup;

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use clap::{Parser, Subcommand};

use crate::chain::chain;

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
        Command::Doctor(arguments) => return doctor::run(arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // where would the failure to write it be written?
            let _ = writeln!(io::stderr(), "longshore: {}", chain(&*error));
            ExitCode::FAILURE
        }
    }
}
