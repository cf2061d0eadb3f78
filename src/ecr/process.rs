//! Commands of the user that print something: `credential_process` and `mfa_command`.
//!
//! A command gets its own process group and a time limit, and outlives nobody: however this process ends, the group ends
//! with it. What it prints on standard output is never shown.

use std::{
    future::pending,
    io,
    os::fd::AsFd,
    process::Stdio,
    time::{Duration, SystemTime},
};

use aws_credential_types::Credentials;
use serde::Deserialize;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    process::{Child, ChildStdin, Command},
};
use zeroize::Zeroizing;

use super::failure::{MintError, MintErrorKind};
use crate::secret::Secret;

/// A command that has printed nothing by then hangs.
const LIMIT: Duration = Duration::from_secs(5);
/// Credentials are a few kilobytes; what is longer is something else.
const LONGEST_OUTPUT: usize = 64 * 1024;
/// Enough of a complaint to know it again.
const LONGEST_COMPLAINT: usize = 200;
/// Runs the command beside a watch that ends the whole group when standard input ends without a line: when this process is
/// gone, by whichever signal. The watch is no child of the command, which may wait for all of its own.
const WATCHED: &str = r#"
exec 3<&0 </dev/null
( (read -r _ <&3 || kill -s KILL 0) >/dev/null 2>&1 & )
exec 3<&-
exec /bin/sh -c "$1"
"#;

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
    shell.args(["-c", WATCHED, "/bin/sh", command]);
    shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // a group of its own, so that what the shell started ends with it
    shell.process_group(0).kill_on_drop(true);
    let mut child = shell.spawn().map_err(|error| failed(format!("cannot be started: {error}")))?;
    let mut group = Group(child.id());
    let watch = child.stdin.take();
    let mut printed = Printout::default();
    let status = tokio::time::timeout(LIMIT, printed.until_end(&mut child))
        .await
        .map_err(|_| failed(format!("did not end within {} s", LIMIT.as_secs())))?;
    // what it left running on purpose, such as an agent, goes on
    dismiss(watch).await;
    group.0 = None;
    let status = status.map_err(|error| failed(format!("was lost: {error}")))?;
    if status.success() {
        return Ok(printed.output);
    }
    let complaint = String::from_utf8_lossy(&printed.complaint);
    Err(failed(match complaint.lines().rev().find(|line| !line.trim().is_empty()) {
        Some(last) => format!("failed ({status}), it said: {}", harmless(last.trim())),
        None => format!("failed ({status}) and said nothing"),
    }))
}

/// Tells the watch that there is nothing to end any more.
async fn dismiss(watch: Option<ChildStdin>) {
    if let Some(mut watch) = watch {
        // one that is gone already watches nothing
        let _ = watch.write_all(b"\n").await;
    }
}

/// What a command said, fit for a terminal and for one line.
fn harmless(text: &str) -> String {
    let is_longer = text.chars().count() > LONGEST_COMPLAINT;
    let shown = text.chars().take(LONGEST_COMPLAINT);
    let escaped = |character: char| {
        let is_control = character.is_control() && character != '\t';
        if is_control { character.escape_default().to_string() } else { character.to_string() }
    };
    shown.map(escaped).chain(is_longer.then(|| "…".to_owned())).collect()
}

/// What a command printed on its two streams.
#[derive(Default)]
struct Printout {
    output: Zeroizing<Vec<u8>>,
    complaint: Zeroizing<Vec<u8>>,
}

impl Printout {
    /// Reads until the command ends, not until the streams do: something it left running may hold them.
    async fn until_end(&mut self, child: &mut Child) -> io::Result<std::process::ExitStatus> {
        let (mut stdout, mut stderr) = (child.stdout.take(), child.stderr.take());
        let reading = async {
            tokio::join!(read(&mut stdout, &mut self.output), read(&mut stderr, &mut self.complaint));
            pending().await
        };
        let status = tokio::select! {
            status = child.wait() => status,
            never = reading => never,
        };
        read_rest(stdout, &mut self.output);
        read_rest(stderr, &mut self.complaint);
        status
    }
}

/// Reads until there is no more, or too much: then the stream is closed.
async fn read(stream: &mut Option<impl AsyncRead + Unpin>, bytes: &mut Vec<u8>) {
    while let Some(open) = stream {
        match open.read_buf(bytes).await {
            Ok(1..) if bytes.len() < LONGEST_OUTPUT => {}
            // what was read before an error is what there is
            _ => *stream = None,
        }
    }
}

/// Reads what is there, without waiting: the runtime may not have heard yet that there is something.
fn read_rest(stream: Option<impl AsFd>, bytes: &mut Vec<u8>) {
    let Some(stream) = stream else { return };
    let mut part = Zeroizing::new([0; 4096]);
    while bytes.len() < LONGEST_OUTPUT {
        match rustix::io::read(&stream, &mut part[..]) {
            Ok(count @ 1..) => bytes.extend_from_slice(&part[..count]),
            _ => return,
        }
    }
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

#[test]
fn a_complaint_moves_no_cursor_and_fills_no_screen() {
    assert_eq!(harmless("no \u{1b}[2Jdevice é"), "no \\u{1b}[2Jdevice é");
    let long = harmless(&"é".repeat(300));
    assert_eq!((long.chars().count(), long.ends_with('…')), (201, true));
}
