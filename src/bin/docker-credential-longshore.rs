//! `docker-credential-longshore`: hands the call to [`longshore::helper`] and sets the exit code.
//!
//! Nothing else, and nothing that mints: every start of this program stands between a user and a pull, so AWS, TLS and
//! the runtime are not linked into it. What needs them is handed over to `longshore`. `install.sh` links it without shared
//! libraries where it can: loading those takes longer than all the rest.

use std::{env, io, process::ExitCode};

use longshore::helper::{Call, hand_over, run};

fn main() -> ExitCode {
    let call = Call::of(env::args_os());
    let outcome = run(&call, &mut io::stdin(), &mut io::stdout(), &mut io::stderr(), hand_over);
    outcome.map_or(ExitCode::FAILURE, ExitCode::from)
}
