//! Handing a call over to `longshore`, which has what the small program leaves out.
//!
//! The process stays the same one, with its streams and its exit code; nothing is started beside it.

use std::{ffi::OsString, process::Command};

use super::{answer::Answer, program, tokens::Sought};

/// The cold way of the small program: `longshore` runs the `get` again and mints.
#[must_use]
pub fn hand_over(server: &str, sought: &Sought) -> Answer {
    let Some(mut command) = longshore("credential") else { return missing() };
    if let Some(profile) = &sought.selection.profile {
        // in one word: a profile may begin with a hyphen
        command.arg(format!("--profile={profile}"));
    }
    command.arg("get");
    become_longshore(&mut command, server.as_bytes())
}

/// The kubelet's protocol: `longshore` speaks it. A request that was read already is handed on.
pub(super) fn to_kubelet_plugin(arguments: &[OsString], request: Option<&[u8]>) -> Answer {
    use std::os::unix::process::CommandExt as _;
    let Some(mut command) = longshore("kubelet-credential-provider") else { return missing() };
    command.args(arguments);
    match request {
        Some(request) => become_longshore(&mut command, request),
        None => unable(&command.exec()),
    }
}

fn longshore(subcommand: &str) -> Option<Command> {
    let mut command = Command::new(program::longshore()?);
    command.arg(subcommand);
    Some(command)
}

fn become_longshore(command: &mut Command, request: &[u8]) -> Answer {
    program::become_program(command, request).unwrap_or_else(|error| unable(&error))
}

fn missing() -> Answer {
    let cause = "the program longshore, which mints tokens, is neither beside this one nor on PATH";
    Answer::failed(cause, "install both programs into one folder, as install.sh does")
}

fn unable(error: &std::io::Error) -> Answer {
    let cause = format!("the program longshore, which mints tokens, does not start: {error}");
    Answer::failed(&cause, "the system says why; if the program is damaged, install it again")
}
