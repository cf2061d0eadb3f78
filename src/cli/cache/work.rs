//! Where the work on the cache folder is done: by the daemon that holds it, or here.

use std::{
    fmt,
    io::{self, IsTerminal as _},
    path::PathBuf,
    sync::Arc,
};

use indicatif::{ProgressBar, ProgressStyle};

use crate::{
    chain::chain,
    cli::{BoxError, place::Problem, serve::open_store},
    config::Config,
    environment,
    server::control::{self, Answer, Control, Work},
    store::{OpenError, control_connect},
};

/// The cache folder and the rules about it.
pub(in crate::cli) struct Place {
    pub(in crate::cli) config: Arc<Config>,
}

impl Place {
    pub(in crate::cli) fn open() -> Result<Self, Problem> {
        let loaded = environment::load().map_err(|error| Problem::new(chain(&error), error.remedy()))?;
        Ok(Self { config: Arc::new(loaded.config) })
    }

    pub(super) fn dir(&self) -> PathBuf {
        environment::cache_dir(&self.config)
    }

    /// Has the work done, with a bar for what takes long and is watched.
    pub(super) fn perform(&self, work: &Work) -> Result<Answer, BoxError> {
        let bar = if io::stderr().is_terminal() { ProgressBar::no_length() } else { ProgressBar::hidden() };
        bar.set_style(ProgressStyle::with_template(
            "{wide_bar} {decimal_bytes} of {decimal_total_bytes}, {decimal_bytes_per_sec}, {eta} left",
        )?);
        let progress = |done, of| {
            bar.set_length(of);
            bar.set_position(done);
        };
        let answer = self.ask(work, &progress);
        bar.finish_and_clear();
        answer
    }

    fn ask(&self, work: &Work, progress: &dyn Fn(u64, u64)) -> Result<Answer, BoxError> {
        let dir = self.dir();
        let stream = control_connect(&dir).map_err(|error| {
            let remedy = "a cache is looked after by who runs its daemon, or by root";
            Problem::new(format!("cache folder {}: {error}", dir.display()), remedy)
        })?;
        if let Some(stream) = stream {
            return Ok(control::ask(&stream, work, progress)?);
        }
        let store = open_store(&self.config).map_err(|error| -> BoxError {
            match error {
                OpenError::InUse { dir, holder } => {
                    let cause = format!("the cache {} is in use by {holder}, which answers no commands", dir.display());
                    Box::new(Problem::new(cause, "try again when it is done; a daemon of an older version: restart it"))
                }
                other => Box::new(other),
            }
        })?;
        let control = Control { store, config: Arc::clone(&self.config), address: None };
        Ok(control.perform(work, progress)?)
    }
}

/// An answer to another question than was asked.
pub(super) fn unexpected() -> BoxError {
    "the daemon answered something else: is it of another version? restart it".into()
}

/// A number of bytes, for people: `1.2 MB`.
pub(in crate::cli) struct Bytes(pub(in crate::cli) u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        bytesize::ByteSize(self.0).display().si().fmt(f)
    }
}
