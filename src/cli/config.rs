//! `longshore config check` and `longshore config show`.
//!
//! Reads the configuration as the daemon and the helper do; changes nothing.

use std::io::{self, Write as _};

use clap::Subcommand;

use super::BoxError;
use crate::{
    config::{self, Origins},
    environment,
};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Say whether the configuration is valid, and what to write instead if it is not
    Check,
    /// Print every setting in force and where it comes from
    Show,
}

pub(super) fn run(command: &Command) -> Result<(), BoxError> {
    let loaded = environment::load()?;
    let mut out = io::stdout().lock();
    let file = loaded.file.as_ref().map(|file| file.display().to_string());
    if matches!(command, Command::Check) {
        let words = file.map_or_else(
            || "no configuration file: the defaults are in force".to_owned(),
            |file| format!("{file}: valid"),
        );
        writeln!(out, "{words}")?;
        return Ok(());
    }
    let origins = Origins::of(&loaded.text);
    let cache_dir = environment::cache_dir(&loaded.config);
    for (key, value) in config::settings(&loaded.config) {
        let origin = match (origins.line(&key), &file) {
            (Some(line), Some(file)) => format!("{file}:{line}"),
            _ => "default".to_owned(),
        };
        let value = match (key.as_str(), value) {
            (_, Some(value)) => value,
            ("cache.dir", None) => format!("{:?}", cache_dir.display().to_string()),
            ("cache.min_free", None) => format!("\"{}B\"", crate::store::default_free(&cache_dir)?),
            ("cache.max_size", None) => format!("\"{}B\"", crate::store::default_size(&cache_dir)?),
            (_, None) => "none".to_owned(),
        };
        writeln!(out, "{key} = {value}  # {origin}")?;
    }
    Ok(())
}
