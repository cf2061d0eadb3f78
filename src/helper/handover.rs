//! Handing a call over to `longshore`, which has what the small program leaves out.
//!
//! The process stays the same one, with its streams and its exit code; nothing is started beside it.

use std::{ffi::OsString, process::Command};

use super::{answer::Answer, program, tokens::Wanted};
use crate::credentials::Selection;

/// What a selected profile beats: keys in the environment come before profiles otherwise.
const BEATEN: [&str; 3] = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"];

/// The cold way of the small program: `longshore` runs the `get` again and mints.
#[must_use]
pub fn hand_over(server: &str, wanted: &Wanted) -> Answer {
    let Some(mut command) = longshore("credential") else { return missing() };
    select_profile(&mut command, &wanted.selection);
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

/// Makes the AWS code of the started program use the selected profile, and tells it so that it files the token there.
fn select_profile(command: &mut Command, selection: &Selection) {
    let Some(profile) = &selection.profile else { return };
    command.arg("--profile").arg(profile).env("AWS_PROFILE", profile);
    for name in BEATEN {
        command.env_remove(name);
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
