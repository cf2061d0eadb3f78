//! Log lines on stderr, as `RUST_LOG` and the configuration ask.
//!
//! The AWS SDK prints whole answers at its finer levels, tokens included: it is held at `info` whatever is asked.

use std::io::{self, IsTerminal as _};

use tracing::{Level, Metadata};
use tracing_subscriber::{
    EnvFilter, Layer as _,
    filter::{FilterExt as _, filter_fn},
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

use super::BoxError;
use crate::config::LogFormat;

pub(super) fn start(format: LogFormat) -> Result<(), BoxError> {
    let asked = EnvFilter::builder().with_default_directive(Level::INFO.into()).from_env()?;
    let filter = asked.and(filter_fn(is_harmless));
    let layer = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    let registry = tracing_subscriber::registry();
    match format {
        LogFormat::Text => {
            registry.with(layer.with_ansi(io::stderr().is_terminal()).with_filter(filter)).try_init()?;
        }
        LogFormat::Json => registry.with(layer.json().flatten_event(true).with_filter(filter)).try_init()?,
    }
    Ok(())
}

fn is_harmless(metadata: &Metadata<'_>) -> bool {
    *metadata.level() <= Level::INFO || !metadata.target().starts_with("aws_")
}
