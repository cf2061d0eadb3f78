//! The lines on the control socket, both ends.

use std::{
    cell::Cell,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use super::{Answer, Control, Work};

/// The other end is a program on this machine that has its words ready.
const SILENCE: Duration = Duration::from_secs(10);
/// A question is a name and a verb.
const LONGEST_QUESTION: u64 = 16 << 10;
/// People see no more than this.
const BETWEEN_REPORTS: Duration = Duration::from_millis(100);

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Progress { done: u64, of: u64 },
    Done(Answer),
    Failed(String),
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The work could not be done.
    #[error("{0}")]
    Failed(String),
    /// The daemon speaks another version of these words.
    #[error("the daemon does not understand, or is not understood: is it of another version? restart it")]
    Version(#[source] serde_json::Error),
    /// The connection broke.
    #[error("the daemon went away before it answered")]
    Gone(#[source] io::Error),
}

/// Answers one question.
pub(super) fn answer(stream: &UnixStream, control: &Control) -> io::Result<()> {
    stream.set_read_timeout(Some(SILENCE))?;
    stream.set_write_timeout(Some(SILENCE))?;
    let mut question = String::new();
    BufReader::new(stream.take(LONGEST_QUESTION)).read_line(&mut question)?;
    let work = match serde_json::from_str(&question) {
        Ok(work) => work,
        Err(error) => return write(stream, &Line::Failed(format!("the daemon does not know this question: {error}"))),
    };
    tracing::info!(?work, "asked by its owner");
    let reported = Cell::new(Instant::now());
    let progress = |done, of| {
        if reported.get().elapsed() >= BETWEEN_REPORTS {
            reported.set(Instant::now());
            // who left hears no more; the work goes on
            let _ = write(stream, &Line::Progress { done, of });
        }
    };
    let outcome = control.perform(&work, &progress);
    write(stream, &outcome.map_or_else(Line::Failed, Line::Done))
}

/// Asks who listens at the other end, and waits for the work to be done.
pub fn ask(stream: &UnixStream, work: &Work, progress: &dyn Fn(u64, u64)) -> Result<Answer, AskError> {
    write(stream, work).map_err(AskError::Gone)?;
    for line in BufReader::new(stream).lines() {
        match serde_json::from_str(&line.map_err(AskError::Gone)?).map_err(AskError::Version)? {
            Line::Progress { done, of } => progress(done, of),
            Line::Done(answer) => return Ok(answer),
            Line::Failed(words) => return Err(AskError::Failed(words)),
        }
    }
    Err(AskError::Gone(io::ErrorKind::UnexpectedEof.into()))
}

fn write(mut stream: &UnixStream, line: &impl Serialize) -> io::Result<()> {
    let mut text = serde_json::to_vec(line)?;
    text.push(b'\n');
    stream.write_all(&text)
}
