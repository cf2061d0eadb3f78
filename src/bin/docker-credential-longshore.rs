//! `docker-credential-longshore`: hands the verb to [`longshore::helper`] and sets the exit code.
//!
//! Nothing else: every start of this program stands between a user and a pull.

use std::{env, io, process::ExitCode};

fn main() -> ExitCode {
    let arguments: Vec<String> =
        env::args_os().skip(1).map(|argument| argument.to_string_lossy().into_owned()).collect();
    let outcome = longshore::helper::run(&arguments, &mut io::stdin(), &mut io::stdout(), &mut io::stderr());
    outcome.map_or(ExitCode::FAILURE, ExitCode::from)
}
