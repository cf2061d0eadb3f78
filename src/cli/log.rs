//! Log lines on stderr, as `RUST_LOG` and the configuration ask.
//!
//! The AWS SDK prints whole answers at its finer levels, tokens included, and warns with whole requests: it is held at
//! `error` whatever is asked. What it warns of is said by `ecr` in words.

use std::{
    io::{self, IsTerminal as _},
    sync::OnceLock,
};

use tracing::{Level, Metadata};
use tracing_subscriber::{
    EnvFilter, Layer as _,
    filter::{FilterExt as _, filter_fn},
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

use super::{BoxError, lines::Lines};
use crate::{config::LogFormat, environment};

/// `off`, `error`, `warn`, `info`, `debug`, or directives as in `RUST_LOG`.
const HELPER_VARIABLE: &str = "LONGSHORE_LOG";

/// The daemon's lines.
static LINES: OnceLock<Lines> = OnceLock::new();

/// Writes the last lines when it is dropped.
#[must_use]
pub(super) struct Flushed;

impl Drop for Flushed {
    fn drop(&mut self) {
        flush();
    }
}

/// Waits until every line is written.
pub(super) fn flush() {
    if let Some(lines) = LINES.get() {
        lines.flush();
    }
}

pub(super) fn start(format: LogFormat) -> Result<Flushed, BoxError> {
    let asked = EnvFilter::builder().with_default_directive(Level::INFO.into()).from_env()?;
    let filter = asked.and(filter_fn(is_harmless));
    let lines = Lines::start(io::stderr())?;
    let layer = tracing_subscriber::fmt::layer().with_writer(LINES.get_or_init(|| lines).clone());
    let registry = tracing_subscriber::registry();
    match format {
        LogFormat::Text => {
            registry.with(layer.with_ansi(io::stderr().is_terminal()).with_filter(filter)).try_init()?;
        }
        LogFormat::Json => registry.with(layer.json().flatten_event(true).with_filter(filter)).try_init()?,
    }
    Ok(Flushed)
}

/// The helper logs only for who asks: a client shows its standard error to people.
pub(super) fn start_if_asked() -> Result<(), BoxError> {
    let Some(asked) = environment::variable(HELPER_VARIABLE) else { return Ok(()) };
    let filter = EnvFilter::try_new(asked.to_string_lossy())?.and(filter_fn(is_harmless));
    let layer = tracing_subscriber::fmt::layer().with_writer(io::stderr).with_ansi(io::stderr().is_terminal());
    tracing_subscriber::registry().with(layer.with_filter(filter)).try_init()?;
    Ok(())
}

fn is_harmless(metadata: &Metadata<'_>) -> bool {
    *metadata.level() <= Level::ERROR || !metadata.target().starts_with("aws_")
}
