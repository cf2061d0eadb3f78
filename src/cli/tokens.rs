//! `longshore tokens`: what is cached, for whom, and until when.
//!
//! Shows no secret: the store lists its entries without them.

use std::{
    io::{self, Write as _},
    time::SystemTime,
};

use clap::Args;
use serde_json::{Value, json};

use super::{
    BoxError,
    place::{Place, near, time},
};
use crate::credentials::{self, Kept};

const TITLES: [&str; 7] = ["REGISTRY", "GOOD FOR", "IDENTITY", "MINTED", "FRESH UNTIL", "EXPIRES", "RENEWED"];

#[derive(Debug, Args)]
pub(super) struct Command {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A token and who renews it.
struct Row {
    kept: Kept,
    is_daemons: bool,
}

pub(super) fn run(command: &Command) -> Result<(), BoxError> {
    let place = Place::open()?;
    let mut rows: Vec<_> = credentials::kept(&place.tokens)?
        .into_iter()
        .map(|kept| Row { is_daemons: place.tokens.is_kept(&kept.key), kept })
        .collect();
    rows.sort_by_cached_key(|Row { kept, .. }| {
        let (scope, identity) = (kept.wanted.scope.clone(), kept.wanted.identity.to_string());
        (kept.registry.clone(), scope, identity, kept.key.as_str().to_owned())
    });
    let mut out = io::stdout().lock();
    if command.json {
        writeln!(out, "{:#}", Value::Array(rows.iter().map(Row::json).collect()))?;
    } else if rows.is_empty() {
        let why = if place.keeps() { "" } else { ": token_store = \"memory\" leaves them to the daemon" };
        writeln!(out, "no token is cached{why}")?;
    } else {
        let now = SystemTime::now();
        let rows: Vec<_> = rows.iter().map(|row| row.cells(now)).collect();
        out.write_all(table(&TITLES.map(str::to_owned), &rows).as_bytes())?;
    }
    Ok(())
}

impl Row {
    fn cells(&self, now: SystemTime) -> [String; 7] {
        let Kept { wanted, registry, entry, .. } = &self.kept;
        [
            registry.clone().unwrap_or_else(|| "-".to_owned()),
            wanted.scope.to_string(),
            wanted.identity.to_string(),
            near(entry.minted_at, now),
            near(entry.refresh_at, now),
            near(entry.expires_at, now),
            if self.is_daemons { "by the daemon" } else { "when asked for" }.to_owned(),
        ]
    }

    fn json(&self) -> Value {
        let Kept { wanted, registry, entry, .. } = &self.kept;
        json!({
            "registry": registry,
            "region": wanted.scope.region,
            "fips": wanted.scope.fips,
            "dual_stack": wanted.scope.dual_stack,
            "public": wanted.scope.public,
            "identity": wanted.identity.to_string(),
            "minted_at": time(entry.minted_at),
            "refresh_at": time(entry.refresh_at),
            "expires_at": time(entry.expires_at),
            "renewed_by_daemon": self.is_daemons,
        })
    }
}

/// Columns as wide as their widest cell, two spaces apart.
pub(super) fn table<const COLUMNS: usize>(titles: &[String; COLUMNS], rows: &[[String; COLUMNS]]) -> String {
    let lines = || std::iter::once(titles).chain(rows);
    let width = |column: usize| lines().map(|cells| cells[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<_> = (0..COLUMNS).map(width).collect();
    let line = |cells: &[String; COLUMNS]| {
        let padded = cells.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    lines().map(line).collect()
}

#[test]
fn columns_are_aligned_and_nothing_trails() {
    let cells = |one: &str, other: &str| [one.to_owned(), other.to_owned()];
    assert_eq!(table(&cells("A", "B"), &[cells("long", "x"), cells("", "y")]), "A     B\nlong  x\n      y\n");
}
