//! [`Answer`]: what a verb answers on stdout, what a person reads on stderr, and the exit code.
//!
//! The fixed texts stand here: clients compare them literally, so nothing is ever added to them.

use std::{
    error::Error,
    io::{self, Write},
};

use crate::chain::chain;

/// The registry is not ours, try without credentials.
const NOT_FOUND: &str = "credentials not found in native keychain";
const NO_SERVER: &str = "no credentials server URL";
const NO_USER: &str = "no credentials username";

/// The answer to one call.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    out: String,
    said: Vec<String>,
    code: u8,
}

impl Answer {
    /// Success, with a text for the client if there is one.
    pub(super) fn done(out: String) -> Self {
        Self { out, said: Vec::new(), code: 0 }
    }

    pub(super) fn not_found() -> Self {
        Self::refused(NOT_FOUND)
    }

    pub(super) fn no_server() -> Self {
        Self::refused(NO_SERVER)
    }

    pub(super) fn no_user() -> Self {
        Self::refused(NO_USER)
    }

    /// A failure that the client is told, and nobody else.
    pub(super) fn refused(cause: &str) -> Self {
        Self { out: cause.to_owned(), said: Vec::new(), code: 1 }
    }

    /// A failure with its cause, and what a person can do about it: some clients show only stderr.
    pub(super) fn failed(cause: &str, remedy: &str) -> Self {
        Self::refused(cause).saying(cause).saying(remedy)
    }

    /// A failure with all its causes on one line.
    pub(super) fn error(error: &(dyn Error + 'static), remedy: &str) -> Self {
        Self::failed(&chain(error), remedy)
    }

    /// What another program answered itself.
    pub(super) fn given(code: u8) -> Self {
        Self { out: String::new(), said: Vec::new(), code }
    }

    /// The same, with one more line for the person.
    pub(super) fn saying(mut self, line: &str) -> Self {
        self.said.push(line.to_owned());
        self
    }

    /// Writes the answer; returns the exit code.
    pub(super) fn write(&self, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<u8> {
        if !self.out.is_empty() {
            writeln!(out, "{}", self.out)?;
            out.flush()?;
        }
        for line in &self.said {
            writeln!(err, "longshore: {line}")?;
        }
        Ok(self.code)
    }
}
