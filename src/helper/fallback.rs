//! The helper for all that is not ECR: `docker-credential-NAME`, as `[fallback] helper` names it.
//!
//! Its answer is the answer: nothing is read out of it, except by `list`. Never asks one that is asking us.

use std::{
    env,
    ffi::OsStr,
    process::{Command, Stdio},
};

use serde_json::{Map, Value};

use super::{answer::Answer, program};

/// Set for the fallback, so that two helpers which name each other do not call each other for ever.
const MARK: &str = "LONGSHORE_FALLBACK";

/// Becomes the fallback `name`; comes back with the cause if there is none to become.
pub(super) fn ask(name: &str, verb: &str, request: &[u8]) -> Result<Answer, String> {
    let mut command = command(name, verb)?;
    program::become_program(&mut command, request).map_err(|error| broken(name, &error.to_string()))
}

/// What the fallback `name` lists: server and user name.
pub(super) fn list(name: &str, request: &[u8]) -> Result<Map<String, Value>, String> {
    let is_broken = |error: std::io::Error| broken(name, &error.to_string());
    let mut command = command(name, "list")?;
    // docker writes one word; no helper reads it
    let input = program::holding(&request[..request.len().min(64)]).map_err(is_broken)?;
    let output = command.stdin(input).stderr(Stdio::inherit()).output().map_err(is_broken)?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stdout);
        return Err(broken(name, words.trim().lines().next().unwrap_or_default()));
    }
    serde_json::from_slice(&output.stdout).map_err(|_| broken(name, "its list is no JSON object"))
}

fn command(name: &str, verb: &str) -> Result<Command, String> {
    let program = format!("docker-credential-{name}");
    if env::var_os(MARK).is_some() {
        return Err(format!("{program}, the fallback helper, asks Longshore, which would ask it again"));
    }
    let Some(path) = program::on_path(OsStr::new(&program)) else {
        return Err(format!("{program}, the fallback helper, is not on PATH"));
    };
    let mut command = Command::new(path);
    command.arg(verb).env(MARK, name);
    Ok(command)
}

fn broken(name: &str, cause: &str) -> String {
    format!("docker-credential-{name}, the fallback helper: {}", cause.escape_debug())
}
