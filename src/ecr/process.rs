//! Commands of the user that print something: `credential_process` and `mfa_command`.
//!
//! A command gets its own process group and a time limit, and leaves no child behind. What it prints is never logged.

use std::{
    process::Stdio,
    time::{Duration, SystemTime},
};

use aws_credential_types::Credentials;
use serde::Deserialize;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    process::Command,
};
use zeroize::Zeroizing;

use super::failure::{MintError, MintErrorKind};
use crate::secret::Secret;

/// A command that has printed nothing by then hangs.
const LIMIT: Duration = Duration::from_secs(5);
/// Credentials are a few kilobytes; what is longer is something else.
const LONGEST_OUTPUT: u64 = 64 * 1024;

/// What `credential_process` prints, version 1 of its protocol.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Printed {
    version: u32,
    access_key_id: String,
    secret_access_key: Zeroizing<String>,
    session_token: Option<Zeroizing<String>>,
    expiration: Option<String>,
}

/// Runs a profile's `credential_process`.
pub(super) async fn credentials(profile: &str, command: &str) -> Result<Credentials, MintError> {
    let what = format!("credential_process of profile {profile}");
    let text = output(&what, command).await?;
    let failed = |problem: &str| {
        let remedy =
            "it must print {\"Version\": 1, \"AccessKeyId\": …, \"SecretAccessKey\": …}; run it by hand to see";
        MintError::credentials(format!("{what} {problem}"), remedy)
    };
    // what it printed may be a secret: only the place of the mistake is repeated
    let printed: Printed = serde_json::from_slice(&text).map_err(|error| {
        failed(&format!("printed something that is not credentials (line {}, column {})", error.line(), error.column()))
    })?;
    if printed.version != 1 {
        return Err(failed(&format!("printed version {} of the protocol; only version 1 is known", printed.version)));
    }
    let expires_at = match printed.expiration.as_deref().map(str::parse::<jiff::Timestamp>) {
        None => None,
        Some(Ok(time)) => Some(SystemTime::from(time)),
        Some(Err(_)) => return Err(failed("printed an Expiration that is not an ISO 8601 time")),
    };
    if expires_at.is_some_and(|time| time <= SystemTime::now()) {
        let remedy = "sign in again with the program it runs; run it by hand to see what it prints";
        return Err(MintError::credentials(format!("{what} printed credentials that have expired already"), remedy));
    }
    let session_token = printed.session_token.as_deref().cloned();
    let secret = printed.secret_access_key.to_string();
    Ok(Credentials::new(printed.access_key_id, secret, session_token, expires_at, "credential_process"))
}

/// Runs a command by the shell and returns what it printed.
pub(super) async fn output(what: &str, command: &str) -> Result<Zeroizing<Vec<u8>>, MintError> {
    let failed = |problem: String| {
        MintError::new(
            MintErrorKind::CredentialsFailed,
            format!("{what} {problem}"),
            "run the command by hand to see why",
        )
    };
    let mut shell = Command::new("/bin/sh");
    shell.arg("-c").arg(command).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // a group of its own, so that what the shell started ends with it
    shell.process_group(0).kill_on_drop(true);
    let mut child = shell.spawn().map_err(|error| failed(format!("cannot be started: {error}")))?;
    let mut group = Group(child.id());
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let work = async {
        let (printed, complaint) = tokio::join!(read(stdout), read(stderr));
        (child.wait().await, printed, complaint)
    };
    let (status, printed, complaint) = tokio::time::timeout(LIMIT, work)
        .await
        .map_err(|_| failed(format!("did not end within {} s", LIMIT.as_secs())))?;
    // what it left running on purpose, such as an agent, goes on
    group.0 = None;
    let status = status.map_err(|error| failed(format!("was lost: {error}")))?;
    if status.success() {
        return Ok(printed);
    }
    let complaint = String::from_utf8_lossy(&complaint);
    let last = complaint.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
    Err(failed(format!("failed ({status}): {}", last.trim())))
}

async fn read(stream: Option<impl AsyncRead + Unpin>) -> Zeroizing<Vec<u8>> {
    let mut bytes = Zeroizing::new(Vec::new());
    if let Some(stream) = stream {
        // what was read before an error is what there is
        let _ = stream.take(LONGEST_OUTPUT).read_to_end(&mut bytes).await;
    }
    bytes
}

/// Ends a process group when dropped, unless its leader came to its own end.
struct Group(Option<u32>);

impl Drop for Group {
    fn drop(&mut self) {
        let leader = self.0.and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
        if let Some(leader) = leader {
            // it may be over already, which is what is wanted
            let _ = rustix::process::kill_process_group(leader, rustix::process::Signal::KILL);
        }
    }
}

/// The one-time code that a user's command prints.
pub async fn code(command: &str) -> Result<Secret, MintError> {
    let what = "mfa_command";
    let text = output(what, command).await?;
    let code = std::str::from_utf8(&text).map(str::trim).unwrap_or_default();
    if code.len() < 6 || !code.bytes().all(|byte| byte.is_ascii_digit()) {
        let remedy = "it must print the six digits and nothing else; run it by hand to see";
        return Err(MintError::credentials(format!("{what} printed something that is not a code"), remedy));
    }
    Ok(Secret::new(code.to_owned()))
}
