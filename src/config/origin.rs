//! Where in a configuration text something stands: for error messages and for `longshore config show`.
//!
//! Lines count from one. A text that does not parse has no origins, only an error.

use std::collections::BTreeMap;

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{Config, Invalid, LogFormat, TokenProtection, value};

/// The line of each key that a text sets, by its full name, such as `cache.max_size` or `registry[0].match`.
#[derive(Debug, Default)]
pub struct Origins(BTreeMap<String, usize>);

impl Origins {
    /// Finds the keys of `text`.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let mut origins = Self::default();
        if let Ok(table) = DeTable::parse(text) {
            origins.collect(text, "", table.get_ref());
        }
        origins
    }

    /// The line that sets `key`, if one does.
    #[must_use]
    pub fn line(&self, key: &str) -> Option<usize> {
        self.0.get(key).copied()
    }

    fn collect(&mut self, text: &str, prefix: &str, table: &DeTable<'_>) {
        for (key, value) in table {
            let name = format!("{prefix}{}", key.get_ref());
            self.value(text, &name, key.span().start, value);
        }
    }

    fn value(&mut self, text: &str, name: &str, at: usize, value: &Spanned<DeValue<'_>>) {
        match value.get_ref() {
            DeValue::Table(table) => self.collect(text, &format!("{name}."), table),
            DeValue::Array(items) if items.iter().any(|item| item.get_ref().is_table()) => {
                for (index, item) in items.iter().enumerate() {
                    self.value(text, &format!("{name}[{index}]"), at, item);
                }
            }
            _ => {
                self.0.insert(name.to_owned(), line_of(text, at));
            }
        }
    }
}

fn line_of(text: &str, at: usize) -> usize {
    text.get(..at).unwrap_or(text).matches('\n').count() + 1
}

/// The error for the place `at` of `text`: its line and the key that is set there.
pub(super) fn invalid(text: &str, at: Option<usize>, problem: &str) -> Invalid {
    let line = at.map(|at| line_of(text, at));
    let key = line.and_then(|line| key_on(text, line));
    Invalid { line, key, problem: problem.trim().to_owned() }
}

/// The key that a line sets, with the table it stands in. The text may be broken further on, so lines are read as text.
fn key_on(text: &str, line: usize) -> Option<String> {
    let lines: Vec<&str> = text.lines().take(line).collect();
    let key = lines.last()?.split_once('=')?.0.trim();
    let table = lines.iter().rev().find_map(|line| line.trim().strip_prefix('['));
    let table = table.map(|table| table.trim_matches(['[', ']', ' ']).to_owned());
    Some(table.map_or_else(|| key.to_owned(), |table| format!("{table}.{key}")))
}

/// Every setting with its effective value, in the order of the documentation. `None` is a value found at run time.
#[must_use]
pub fn settings(config: &Config) -> Vec<(String, Option<String>)> {
    let quoted = |text: &str| format!("{text:?}");
    let time = |duration| Some(format!("{:?}", value::show_duration(duration)));
    let size_of = |bytes| Some(quoted(&value::show_size(bytes)));
    let path =
        |path: &Option<std::path::PathBuf>| path.as_ref().map(|path| format!("{:?}", path.display().to_string()));
    let networks: Vec<String> = config.access.networks.iter().map(|network| format!("\"{network}\"")).collect();
    let (token_store, token_key_file) = match &config.token_store {
        TokenProtection::File => ("file", None),
        TokenProtection::EncryptedFile(file) => ("encrypted-file", Some(file.clone())),
        TokenProtection::Keyring => ("keyring", None),
        TokenProtection::Memory => ("memory", None),
    };
    let format = match config.log_format {
        LogFormat::Text => "text",
        LogFormat::Json => "json",
    };
    let mut settings = vec![
        ("listen", Some(quoted(&config.listen.to_string()))),
        ("default_registry", config.default_registry.as_ref().map(|registry| quoted(registry.as_str()))),
        ("grace", time(config.grace)),
        ("log_format", Some(quoted(format))),
        ("token_store", Some(quoted(token_store))),
        ("token_key_file", path(&token_key_file)),
        ("fallback.helper", config.fallback_helper.as_deref().map(quoted)),
        ("cache.dir", path(&config.cache.dir)),
        ("cache.max_size", config.cache.max_size.and_then(|size| size_of(size.get()))),
        ("cache.min_free", config.cache.min_free.and_then(size_of)),
        ("cache.max_age", time(config.cache.max_age)),
        ("cache.revalidate", time(config.cache.revalidate)),
        ("cache.stale_after", time(config.cache.stale_after)),
        ("cache.offline", Some(config.cache.offline.to_string())),
        ("cache.keep_deleted", Some(config.cache.keep_deleted.to_string())),
        ("cache.finish_fill", Some(quoted(&config.cache.finish_fill.to_string()))),
        ("cache.scrub_every", time(config.cache.scrub_every)),
        ("cache.scrub_rate", size_of(config.cache.scrub_rate.get())),
        ("access.networks", Some(format!("[{}]", networks.join(", ")))),
        ("upstream.ca_file", path(&config.upstream.ca_file)),
        ("upstream.connect_timeout", time(config.upstream.connect_timeout)),
        ("upstream.idle_timeout", time(config.upstream.idle_timeout)),
        ("upstream.retry_for", time(config.upstream.retry_for)),
        ("upstream.parallel_above", size_of(config.upstream.parallel_above)),
        ("upstream.connections_per_host", Some(config.upstream.connections_per_host.to_string())),
        ("upstream.connections", Some(config.upstream.connections.to_string())),
        ("upstream.prefetch", Some(config.upstream.prefetch.to_string())),
        ("upstream.touch_after", time(config.upstream.touch_after)),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value))
    .collect::<Vec<_>>();
    for (pattern, target) in &config.upstream.connect_to {
        settings.push((format!("upstream.connect_to.{}", pattern.as_str()), Some(quoted(target))));
    }
    for (index, rule) in config.registries.iter().enumerate() {
        let endpoint = rule.endpoint.as_ref().map(|endpoint| {
            let scheme = if endpoint.tls { "https" } else { "http" };
            quoted(&format!("{scheme}://{}", endpoint.authority))
        });
        let values = [
            ("match", Some(quoted(rule.pattern.as_str()))),
            ("endpoint", endpoint),
            ("username", rule.username.as_deref().map(quoted)),
            ("password_file", path(&rule.password_file)),
            ("token_host", rule.token_host.as_deref().map(quoted)),
            ("alias", rule.alias.as_ref().map(|alias| quoted(alias.as_str()))),
            ("max_size", rule.max_size.and_then(|size| size_of(size.get()))),
            ("immutable", (!rule.immutable.is_empty()).then(|| format!("{:?}", rule.immutable))),
        ];
        let identity = &rule.identity;
        let texts = [
            ("profile", &identity.profile),
            ("role_arn", &identity.role_arn),
            ("external_id", &identity.external_id),
            ("session_name", &identity.session_name),
            ("region", &identity.region),
            ("endpoint_url", &identity.endpoint_url),
            ("mfa_serial", &identity.mfa_serial),
            ("mfa_command", &identity.mfa_command),
        ];
        let texts = texts.map(|(key, text)| (key, text.as_deref().map(quoted)));
        let rest = [
            ("duration", identity.duration.and_then(time)),
            ("anonymous", identity.anonymous.then(|| "true".to_owned())),
        ];
        let set = values.into_iter().chain(texts).chain(rest).filter(|(_, value)| value.is_some());
        settings.extend(set.map(|(key, value)| (format!("registry[{index}].{key}"), value)));
    }
    settings
}
