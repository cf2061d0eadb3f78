//! `longshore`: hands the command line to [`longshore::cli`] and sets the exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    longshore::cli::run()
}
