//! One-time codes: a command's, or a person's, who is asked on the terminal and never on the streams of the protocol.
//!
//! One code is enough for all processes that wait for it. What is typed is kept nowhere.

use std::{
    fs::{File, OpenOptions},
    io::{BufRead as _, BufReader, Write as _},
    time::Duration,
};

use tokio::{
    task::spawn_blocking,
    time::{Instant, timeout, timeout_at},
};

use super::{
    Error, notes,
    obtain::{Attempt, Minted},
};
use crate::{
    ecr::{self, Known, Mfa, MintError, MintErrorKind, Session},
    secret::Secret,
    store::TokenStoreError,
};

/// How long a person may look for the device. It does not count as waiting for AWS.
pub(super) const PERSON: Duration = Duration::from_mins(1);
/// A terminal, whatever the standard streams are: those belong to the protocol.
const TERMINAL: &str = "/dev/tty";

impl Attempt {
    /// With a code, or with the session that another process opened with one meanwhile; `None` when there is no code.
    pub(super) async fn mint_with_code(
        &self,
        mfa: &Mfa,
        known: Known,
        deadline: Instant,
        may_ask: bool,
    ) -> Option<Minted> {
        let Known { session, no_metadata, .. } = known;
        let started = Instant::now();
        // a person's time is not AWS's
        let is_persons = may_ask && mfa.command.is_none() && is_here();
        let extended = || if is_persons { deadline + started.elapsed() } else { deadline };
        let (_lock, opened) = match timeout_at(deadline, self.opening()).await {
            Ok(opening) => opening.ok()?,
            Err(_) if is_persons && self.is_asking().await => timeout(PERSON, self.opening()).await.ok()?.ok()?,
            Err(_) => return None,
        };
        let end = |session: &Session| session.expires_at;
        if opened.as_ref().map(end) != session.as_ref().map(end) {
            let outcome = self.mint_in_time(Known { code: None, session: opened, no_metadata }, extended()).await;
            if !matches!(&outcome, Err(error) if error.kind == MintErrorKind::MfaNeeded) {
                return Some(outcome);
            }
        }
        let code = match &mfa.command {
            Some(command) => match timeout_at(deadline, ecr::code(command)).await {
                Ok(Ok(code)) => code,
                Ok(Err(error)) => return Some(Err(error)),
                Err(_) => return Some(Err(MintError::silent("mfa_command did not end in time"))),
            },
            None if may_ask => self.ask(mfa).await?,
            None => return None,
        };
        Some(self.mint_in_time(Known { code: Some(code), session, no_metadata }, extended()).await)
    }

    /// Waits for the lock that a code is spent under, and looks for what came of it.
    async fn opening(&self) -> Result<(Result<File, TokenStoreError>, Option<Session>), Error> {
        self.blocking(|attempt| {
            let lock = notes::lock_session(&attempt.tokens, &attempt.wanted);
            (lock, notes::session(&attempt.tokens, &attempt.wanted))
        })
        .await
    }

    pub(super) async fn is_asking(&self) -> bool {
        let asking = self.blocking(|attempt| notes::is_asking(&attempt.tokens, &attempt.wanted));
        asking.await.unwrap_or_default()
    }

    /// Asks the person, and lets the others know.
    async fn ask(&self, mfa: &Mfa) -> Option<Secret> {
        self.blocking(|attempt| notes::begin_asking(&attempt.tokens, &attempt.wanted)).await.ok()?;
        let code = at_terminal(mfa).await;
        self.blocking(|attempt| notes::end_asking(&attempt.tokens, &attempt.wanted)).await.ok()?;
        code
    }
}

/// Whether a person is at our terminal: who has none does not wait for somebody else's either.
pub(super) fn is_here() -> bool {
    terminal().is_some()
}

/// The terminal, if it is ours: a job in the background would be stopped, and hold its locks for as long.
fn terminal() -> Option<File> {
    let terminal = OpenOptions::new().read(true).write(true).open(TERMINAL).ok()?;
    let is_our_turn = rustix::termios::tcgetpgrp(&terminal).ok()? == rustix::process::getpgrp();
    Some(terminal).filter(|_| is_our_turn)
}

/// Asks the person at the terminal for a code; `None` when there is no terminal, or no answer.
async fn at_terminal(mfa: &Mfa) -> Option<Secret> {
    let prompt = format!("longshore: one-time code of {}: ", mfa.serial);
    let asked = spawn_blocking(move || {
        let mut terminal = terminal()?;
        terminal.write_all(prompt.as_bytes()).ok()?;
        let mut line = String::new();
        BufReader::new(terminal).read_line(&mut line).ok()?;
        Some(line.trim().to_owned()).filter(|code| !code.is_empty()).map(Secret::new)
    });
    timeout(PERSON, asked).await.ok()?.ok()?
}
