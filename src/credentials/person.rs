//! Asking a person for a one-time code, on the terminal and never on the streams of the protocol.
//!
//! What is typed is kept nowhere.

use std::{
    fs::OpenOptions,
    io::{BufRead as _, BufReader, Write as _},
    time::Duration,
};

use tokio::{task::spawn_blocking, time::timeout};

use crate::{ecr::Mfa, secret::Secret};

/// How long a person may look for the device. It does not count as waiting for AWS.
const PERSON: Duration = Duration::from_mins(1);
/// A terminal, whatever the standard streams are: those belong to the protocol.
const TERMINAL: &str = "/dev/tty";

/// Asks the person at the terminal for a code; `None` when there is no terminal, or no answer.
pub(super) async fn ask(mfa: &Mfa) -> Option<Secret> {
    let prompt = format!("longshore: one-time code of {}: ", mfa.serial);
    let asked = spawn_blocking(move || {
        let mut terminal = OpenOptions::new().read(true).write(true).open(TERMINAL).ok()?;
        terminal.write_all(prompt.as_bytes()).ok()?;
        let mut line = String::new();
        BufReader::new(terminal).read_line(&mut line).ok()?;
        Some(line.trim().to_owned()).filter(|code| !code.is_empty()).map(Secret::new)
    });
    timeout(PERSON, asked).await.ok()?.ok()?
}
